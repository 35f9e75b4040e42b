"""Set-up that every test needs, done before anything else is imported."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when diffusers is imported: a test never reaches for the network

import torch

import trainables  # noqa: F401 (first: it makes torchvision importable, which diffusers and torch-fidelity import)

torch.set_num_threads(1)  # the models are tiny, and the result of a sum must not depend on the machine
