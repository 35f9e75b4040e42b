"""What runs in a worker: torch and diffusers, imported where they are used. Only ray_train.py imports Ray."""

from trainables.torchvision_ops import mend_torchvision

mend_torchvision()
