"""Makes the weights of `digits-cnn-v1`: python -m trainables.evaluation.extractors.train_digits_cnn [OUT.safetensors]

Trains the network on 80% of scikit-learn's digits, reports its accuracy on the other 20%, writes the weights and prints
their sha256 for `digits_cnn.WEIGHTS_SHA256`. The seeds are fixed, but another CPU or torch may end in other last bits:
the shipped file is the definition of the extractor, this script is how it came about.
"""

import hashlib
import sys
from pathlib import Path

import safetensors.torch
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from trainables.evaluation.extractors.digits_cnn import DigitsNetwork

SEED = 20260
NUM_EPOCHS = 60
BATCH_SIZE = 64
MAX_LEARNING_RATE = 4e-3
NOISE_STD = 0.04  # in units of the full range [0, 1]
SHIFT_PROBABILITY = 0.3
TOTAL_VARIANCE = 400.0


def digits() -> list[torch.Tensor]:
    """Train and test images (N, 1, 8, 8) in [0, 1] of 17 grey levels k/16 rounded to bytes, then their labels."""
    images, labels = load_digits(return_X_y=True)
    x_N1HW = torch.as_tensor(images).reshape(-1, 1, 8, 8).div(16).mul(255).round().div(255).float()
    return list(train_test_split(x_N1HW, torch.as_tensor(labels), test_size=0.2, stratify=labels, random_state=SEED))


def initialise(network: DigitsNetwork, generator: torch.Generator) -> None:
    """He initialisation from the given generator."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, generator=generator)
        else:
            nn.init.zeros_(parameter)


def augmented(x_B1HW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shifts some images by up to one pixel and adds faint noise, so that features change smoothly with the image."""
    padded = nn.functional.pad(x_B1HW, (1, 1, 1, 1))
    shifted = []
    for image in padded:
        moves = torch.rand((), generator=generator) < SHIFT_PROBABILITY
        row, column = torch.randint(0, 3, (2,), generator=generator).tolist() if moves else (1, 1)
        shifted.append(image[:, row : row + 8, column : column + 8])
    x_B1HW = torch.stack(shifted)
    return (x_B1HW + NOISE_STD * torch.randn(x_B1HW.shape, generator=generator)).clamp(0, 1)


def train(network: DigitsNetwork, x_N1HW: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> None:
    """Cross-entropy with AdamW on a one-cycle schedule."""
    num_steps = NUM_EPOCHS * -(-len(x_N1HW) // BATCH_SIZE)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, MAX_LEARNING_RATE, total_steps=num_steps)
    for _ in range(NUM_EPOCHS):
        for indices in torch.split(torch.randperm(len(x_N1HW), generator=generator), BATCH_SIZE):
            _, logits = network(augmented(x_N1HW[indices], generator))
            loss = nn.functional.cross_entropy(logits, labels[indices])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()


@torch.no_grad()
def rescale(network: DigitsNetwork, x_N1HW: torch.Tensor) -> None:
    """Gives the features of real digits a total variance of 400 and leaves the logits (a leaky ReLU is homogeneous).

    A FID is in units of squared features, so this fixes its scale: blank or noise images then score some hundreds, as
    they do with Inception.
    """
    features, _ = network(x_N1HW)
    scale = (TOTAL_VARIANCE / features.var(dim=0).sum()).sqrt()
    network.embed.weight.mul_(scale)
    network.embed.bias.mul_(scale)
    network.classify.weight.div_(scale)


@torch.no_grad()
def accuracy(network: DigitsNetwork, x_N1HW: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the images whose largest logit is their label's."""
    _, logits = network(x_N1HW)
    return float((logits.argmax(dim=1) == labels).float().mean())


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "digits_cnn_v1.safetensors")
    x_train, x_test, labels_train, labels_test = digits()
    generator = torch.Generator().manual_seed(SEED)
    network = DigitsNetwork()
    initialise(network, generator)
    train(network, x_train, labels_train, generator)
    rescale(network, x_train)
    content = safetensors.torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    out.write_bytes(content)
    for split, images, labels in (("train", x_train, labels_train), ("test", x_test, labels_test)):
        print(f"{split} accuracy {accuracy(network, images, labels):.4f} of {len(images)} images")
    print(f"{out} sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
