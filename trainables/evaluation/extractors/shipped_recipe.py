"""How the networks of the shipped extractors are trained: as classifiers, on images that are shifted and made noisy.

Shapes: N images, B batch, H height, W width.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from sklearn.model_selection import train_test_split
from torch import nn

SEED = 20260
BATCH_SIZE = 64
MAX_LEARNING_RATE = 4e-3
NOISE_STD = 0.04  # in units of the full range [0, 1]
SHIFT_PROBABILITY = 0.3
TOTAL_VARIANCE = 400.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Images (N, 1, H, W) in [0, 1] and labels (N,): 80% to train on, 20% to test with, by class."""

    x_train: torch.Tensor
    x_test: torch.Tensor
    labels_train: torch.Tensor
    labels_test: torch.Tensor


def split(x_N1HW: torch.Tensor, labels: torch.Tensor) -> Split:
    parts = train_test_split(x_N1HW, labels, test_size=0.2, stratify=labels, random_state=SEED)
    return Split(x_train=parts[0], x_test=parts[1], labels_train=parts[2], labels_test=parts[3])


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """He initialisation from the given generator."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, generator=generator)
        else:
            nn.init.zeros_(parameter)


def augmented(x_B1HW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shifts some images by up to one pixel and adds faint noise, so that features change smoothly with the image."""
    height, width = x_B1HW.shape[2:]
    padded = nn.functional.pad(x_B1HW, (1, 1, 1, 1))
    shifted = []
    for image in padded:
        moves = torch.rand((), generator=generator) < SHIFT_PROBABILITY
        row, column = torch.randint(0, 3, (2,), generator=generator).tolist() if moves else (1, 1)
        shifted.append(image[:, row : row + height, column : column + width])
    x_B1HW = torch.stack(shifted)
    return (x_B1HW + NOISE_STD * torch.randn(x_B1HW.shape, generator=generator)).clamp(0, 1)


def train(network: nn.Module, data: Split, num_epochs: int, generator: torch.Generator) -> None:
    """Cross-entropy with AdamW on a one-cycle schedule."""
    num_steps = num_epochs * -(-len(data.x_train) // BATCH_SIZE)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, MAX_LEARNING_RATE, total_steps=num_steps)
    for _ in range(num_epochs):
        for indices in torch.split(torch.randperm(len(data.x_train), generator=generator), BATCH_SIZE):
            _, logits = network(augmented(data.x_train[indices], generator))
            loss = nn.functional.cross_entropy(logits, data.labels_train[indices])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()


@torch.no_grad()
def rescale(network: nn.Module, x_N1HW: torch.Tensor) -> None:
    """Gives the features of real images a total variance of 400 and leaves the logits (a leaky ReLU is homogeneous).

    A FID is in units of squared features, so this fixes its scale: blank or noise images then score some hundreds, as
    they do with Inception.
    """
    features, _ = network(x_N1HW)
    scale = (TOTAL_VARIANCE / features.var(dim=0).sum()).sqrt()
    embed, classify = network.get_submodule("embed"), network.get_submodule("classify")
    assert isinstance(embed, nn.Linear)
    assert isinstance(classify, nn.Linear)
    embed.weight.mul_(scale)
    embed.bias.mul_(scale)
    classify.weight.div_(scale)


@torch.no_grad()
def accuracy(network: nn.Module, x_N1HW: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the images whose largest logit is their label's."""
    _, logits = network(x_N1HW)
    return float((logits.argmax(dim=1) == labels).float().mean())


def make_weights(network: nn.Module, data: Split, num_epochs: int, out: Path) -> None:
    """Trains the network, writes its weights and prints its accuracies and their sha256."""
    generator = torch.Generator().manual_seed(SEED)
    initialise(network, generator)
    train(network, data, num_epochs, generator)
    rescale(network, data.x_train)
    content = safetensors.torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    out.write_bytes(content)
    for part, images, labels in (
        ("train", data.x_train, data.labels_train),
        ("test", data.x_test, data.labels_test),
    ):
        print(f"{part} accuracy {accuracy(network, images, labels):.4f} of {len(images)} images")
    print(f"{out} sha256 {hashlib.sha256(content).hexdigest()}")
