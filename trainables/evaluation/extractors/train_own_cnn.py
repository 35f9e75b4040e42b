"""The recipe of `own-v1`: the network learns to say what was done to an image, and of which class it is.

Every image is left as it is, blurred, made noisy, or its quarters change places, and the network says which: so its
features see what spoils an image. It also says the class of the image, or where there are no classes by how far the
image was turned (0, 90, 180 or 270 degrees; Gidaris et al. 2018). The weights are those of the lowest loss on images
that were held out. A changed recipe is another version and needs another name. Shapes: B batch, S side of the images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from trainables.evaluation.extractors.own_cnn import OwnNetwork
from trainables.evaluation.extractors.shipped_recipe import initialise
from trainables.evaluation.fidelity import frechet_distance
from trainables.seeds import derived_generator

SEED = 0
NUM_STEPS = 1500
CHECK_EVERY_STEPS = 100
BATCH_SIZE = 64
MAX_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
FAINT_NOISE, NOISE_STDS = 0.02, (0.08, 0.3)  # in units of the full range [0, 1]
NUM_TURNS = 4
NUM_HELD_OUT = 1024  # of the images, at most a tenth
NUM_SCALED, FID_OF_NOISE = 2048, 400.0  # images that say how wide the features are, and how wide that is


@dataclass(frozen=True, eq=False, kw_only=True)
class OwnImages:
    """What an own network is trained on. read: uint8 images (B, 1 or 3, S, S) of some indices (B,).

    classes: (N,) int64 among num_classes, or None.
    """

    read: Callable[[torch.Tensor], torch.Tensor]
    num_images: int
    side: int
    classes: torch.Tensor | None = None
    num_classes: int = NUM_TURNS


@dataclass(frozen=True, eq=False)
class Trained:
    """loss: of images that were held out."""

    network: OwnNetwork
    loss: float


@dataclass(frozen=True, eq=False)
class _Batch:
    """x (B, 3, S, S) in [0, 1]; its classes (or turns) and what was done to it, both (B,)."""

    x: torch.Tensor
    classes: torch.Tensor
    done: torch.Tensor


def train_own(images: OwnImages, device: torch.device) -> Trained:
    """Cross-entropy with AdamW on a one-cycle schedule; then the scale of the features."""
    draw = derived_generator(SEED, "own extractor")
    order = torch.randperm(images.num_images, generator=draw)
    held, seen = order.tensor_split([min(NUM_HELD_OUT, images.num_images // 10)])
    checks = [_batch(images, chosen, draw) for chosen in torch.split(held, BATCH_SIZE)]
    with torch.device("meta"):
        network = OwnNetwork(images.side, images.num_classes, len(DONE))
    network.to_empty(device="cpu")
    network.scale.fill_(1.0)
    initialise(network, draw)
    network.to(device)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, MAX_LEARNING_RATE, total_steps=NUM_STEPS)
    best, weights = float("inf"), network.state_dict()
    for step in range(1, NUM_STEPS + 1):
        chosen = seen[torch.randint(len(seen), (BATCH_SIZE,), generator=draw)]
        loss = _loss(network, _batch(images, chosen, draw), device)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % CHECK_EVERY_STEPS == 0 and (found := _loss_of_all(network, checks, device)) < best:
            best, weights = found, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(weights)
    _rescale(network, images.read(order[:NUM_SCALED]), draw, device)
    return Trained(network, best)


def _loss(network: OwnNetwork, batch: _Batch, device: torch.device) -> torch.Tensor:
    _, logits = network(batch.x.to(device))
    of_classes, of_done = logits.split([logits.shape[1] - len(DONE), len(DONE)], dim=1)
    of_what_was_done = nn.functional.cross_entropy(of_done, batch.done.to(device))
    return nn.functional.cross_entropy(of_classes, batch.classes.to(device)) + of_what_was_done


@torch.no_grad()
def _loss_of_all(network: OwnNetwork, batches: list[_Batch], device: torch.device) -> float:
    total = sum(float(_loss(network, batch, device)) * len(batch.x) for batch in batches)
    return total / sum(len(batch.x) for batch in batches)


@torch.no_grad()
def _rescale(network: OwnNetwork, images_BCSS: torch.Tensor, draw: torch.Generator, device: torch.device) -> None:
    """Gives the features such a length that uniform noise has the FID FID_OF_NOISE against these images."""
    noise = torch.randint(256, images_BCSS.shape, generator=draw, dtype=torch.uint8)
    parts = [
        torch.cat([network(_float(part).to(device))[0].cpu().double() for part in torch.split(one, BATCH_SIZE)])
        for one in (images_BCSS, noise)
    ]
    network.scale.mul_((FID_OF_NOISE / frechet_distance(*parts)) ** 0.5)


def _float(images: torch.Tensor) -> torch.Tensor:
    return (images.float() / 255).expand(-1, 3, -1, -1)


def _batch(images: OwnImages, chosen: torch.Tensor, draw: torch.Generator) -> _Batch:
    """The images of the indices as the network sees them in training."""
    x = _float(images.read(chosen))
    if images.classes is None:
        classes = torch.randint(NUM_TURNS, (len(x),), generator=draw)
        x = torch.stack([one.rot90(turns, (1, 2)) for one, turns in zip(x, classes.tolist(), strict=True)])
    else:
        classes = images.classes[chosen]
    x = _shifted(x, draw)
    done = torch.randint(len(DONE), (len(x),), generator=draw)
    x = torch.stack([DONE[what](one, draw) for one, what in zip(x, done.tolist(), strict=True)])
    return _Batch(_noisy(x, draw, FAINT_NOISE).clamp(0, 1), classes, done)


def _shifted(x_B3SS: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """By up to a sixteenth of the side, so that features change smoothly with the image."""
    side = x_B3SS.shape[-1]
    most = max(1, side // 16)
    padded = nn.functional.pad(x_B3SS, (most, most, most, most), mode="replicate")
    row, column = torch.randint(2 * most + 1, (2,), generator=draw).tolist()
    return padded[:, :, row : row + side, column : column + side]


def _as_it_is(x_3SS: torch.Tensor, _draw: torch.Generator) -> torch.Tensor:
    return x_3SS


def _blurred(x_3SS: torch.Tensor, _draw: torch.Generator) -> torch.Tensor:
    """By the mean of every 3x3 pixels."""
    return nn.functional.avg_pool2d(nn.functional.pad(x_3SS, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _noisy(x: torch.Tensor, draw: torch.Generator, std: float) -> torch.Tensor:
    return x + std * torch.randn(x.shape, generator=draw)


def _made_noisy(x_3SS: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    low, high = NOISE_STDS
    return _noisy(x_3SS, draw, low + (high - low) * float(torch.rand((), generator=draw)))


def _cut_up(x_3SS: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Rolled by half the side, so that its quarters change places."""
    half = x_3SS.shape[-1] // 2
    return x_3SS.roll((half, half), (1, 2))


DONE = (_as_it_is, _blurred, _made_noisy, _cut_up)
