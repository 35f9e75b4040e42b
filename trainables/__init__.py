"""What runs in a worker: torch and diffusers. Only ray_train.py imports Ray."""

from trainables.torchvision_ops import import_torchvision

_torchvision_library = import_torchvision()
