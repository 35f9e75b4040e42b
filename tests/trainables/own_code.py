"""Modules of a user's own, as tests write them into a folder."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables import plugins
from trainables.families import FAMILIES
from trainables.losses import features, own_loss

LOSSES = '''
import torch
from helpers_of_mine import cosines


def cosine(student, teacher, *, reduction, power: float = 1.0):
    """1 - cosine similarity of the outputs (B, C, H, W), in the scale of a sum over their elements."""
    size = 1 if reduction == "mean" else student[0].numel()
    return size * (1 - cosines(student, teacher)).pow(power).mean()


def blocks(student_features, teacher_features, adapters, *, reduction):
    pairs = zip(student_features, teacher_features, strict=True)
    return sum((s.square().mean(1) - t.square().mean(1)).square().sum((1, 2)).mean() for s, t in pairs)


def of_batch(student, teacher):
    """Not the mean over the batch."""
    return (student - teacher).square().sum()


def no_loss(student):
    return student.sum()


def per_sample(student, teacher):
    return (student - teacher).square().flatten(1).mean(1)
'''
HELPERS = """
import torch


def cosines(one, other):
    return torch.nn.functional.cosine_similarity(one.flatten(1), other.flatten(1))
"""
DATA = '''
from dataclasses import dataclass

import torch
from trainables.data import Dataset


@dataclass(frozen=True)
class Stripes:
    """Images of stripes."""

    width: int
    number: int = 32

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"data.width must be 1 or more but got {self.width!r}")

    def load(self):
        rows = torch.arange(8).view(1, 1, 8, 1) // self.width + torch.arange(self.number).view(-1, 1, 1, 1)
        return Dataset(images=(rows % 2 * 2.0 - 1).expand(-1, 1, 8, 8).contiguous())
'''
FEATURES = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(64, 5)

    def forward(self, images):
        return self.map(images[:, 0].flatten(1).float() / 255)
"""
MODULES = {"losses": LOSSES, "helpers": HELPERS, "data": DATA, "features": FEATURES}


@contextmanager
def own_modules(folder: Path, **others: str) -> Iterator[None]:
    """Writes <name>_of_mine.py for each of MODULES and `others` into the folder, where they can be imported."""
    for name, source in (MODULES | others).items():
        (folder / f"{name}_of_mine.py").write_text(source)
    forget()
    known = dict(FAMILIES)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in FAMILIES.keys() - known:
            del FAMILIES[name]
        forget()


def forget() -> None:
    """What another process would not know: modules that were imported, and what was read of their source."""
    for name in [name for name in sys.modules if name.endswith("_of_mine")]:
        del sys.modules[name]
    for cached in (plugins.code_digest, plugins.installed, own_loss._keywords, features.feature_loss):
        cached.cache_clear()
