"""TinyFusion (Fang et al. 2025): a transformer with some of its layers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from trainables.checks import require_whole
from trainables.data import Dataset, DataShape
from trainables.data.streams import SeedStream
from trainables.families import family_of, predict, split_variance
from trainables.process import Process
from trainables.ranks import Ranks
from trainables.seeds import derived_generator

TEMPERATURES = (4.0, 0.1)
_LAYER = re.compile(r"transformer_blocks\.(\d+)\.(.*)")


@dataclass(frozen=True, kw_only=True)
class DepthPruning:
    """layers: indices of those that stay; else num_layers of them, evenly spaced, or `learned`.

    Learned: every group of N consecutive layers keeps one. Which, is drawn for every sample by a straight-through
    Gumbel softmax at a temperature that falls from 4 to 0.1, whose logits are trained for num_steps with the diffusion
    loss together with the weights of a copy of the teacher (TinyFusion updates LoRA weights instead, and throws them
    away as well); the likeliest layer stays, with the teacher's weights. The last layer always stays.
    """

    layers: Sequence[int] | None = None
    num_layers: int | None = None
    learned: bool = False
    num_steps: int = 100
    batch_size: int = 16
    lr: float = 2e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.layers is None) == (self.num_layers is None):
            raise ValueError("student.pruning must have either layers or num_layers")
        if self.num_layers is not None:
            require_whole("student.pruning.num_layers", self.num_layers, 1, 10**4)
        for layer in self.layers or ():
            require_whole("student.pruning.layers", layer, 0, 10**4)
        for name in ("num_steps", "batch_size"):
            require_whole(f"student.pruning.{name}", getattr(self, name), 1)
        require_whole("student.pruning.seed", self.seed, 0)
        if not isinstance(self.learned, bool):
            raise ValueError(f"student.pruning.learned must be true or false but got {self.learned!r}")

    def __call__(self, teacher: nn.Module, data: Dataset, process: Process) -> nn.Module:
        blocks = _blocks(teacher)
        kept = self._kept(teacher, len(blocks), data, process)
        if kept != sorted(set(kept)) or kept[-1] >= len(blocks):
            raise ValueError(f"student.pruning.layers must be ascending and below {len(blocks)} but got {list(kept)}")
        student: nn.Module = with_layers(teacher, kept)
        return student

    def without_weights(self, teacher: nn.Module, _shape: DataShape) -> nn.Module:
        """A student of as many layers on the meta device."""
        kept = range(len(self.layers or ()) or self.num_layers or 0)
        if max(kept, default=0) >= (num := len(_blocks(teacher))):
            raise ValueError(f"student.pruning.num_layers must be {num} or less but got {len(kept)}")
        with torch.device("meta"):
            student: nn.Module = _of_layers(teacher, len(kept))
        return student

    def _kept(self, teacher: nn.Module, num: int, data: Dataset, process: Process) -> list[int]:
        if self.layers is not None:
            return list(self.layers)
        assert self.num_layers is not None
        if self.num_layers > num:
            raise ValueError(f"student.pruning.num_layers must be {num} or less but got {self.num_layers}")
        if self.learned:
            return self._learned(teacher, num, data, process)
        return [round((index + 1) * num / self.num_layers) - 1 for index in range(self.num_layers)]

    def _learned(self, teacher: nn.Module, num: int, data: Dataset, process: Process) -> list[int]:
        assert self.num_layers is not None
        if num % self.num_layers:
            raise ValueError(
                f"student.pruning.num_layers must divide the teacher's {num} layers to be learned but got"
                f" {self.num_layers}"
            )
        model = with_layers(teacher, list(range(num))).train()
        logits = nn.Parameter(torch.zeros((self.num_layers, num // self.num_layers)))
        with torch.no_grad():
            logits[-1, -1] = 1e3  # the last layer stays
        gates = _gate(model.transformer_blocks, family_of(model).feature)
        groups: list[dict[str, Any]] = [{"params": model.parameters()}, {"params": [logits], "lr": 0.1}]
        optimiser = torch.optim.AdamW(groups, lr=self.lr)
        stream = SeedStream(
            data, process, seed=self.seed, batch_size=self.batch_size, timesteps="uniform", ranks=Ranks()
        )
        for step in range(self.num_steps):
            draw = torch.rand((self.batch_size, *logits.shape), generator=derived_generator(self.seed, "gumbel", step))
            gumbel = -(-draw.clamp(min=1e-9).log()).clamp(min=1e-9).log()
            soft = functional.softmax((logits + gumbel) / temperature(step, self.num_steps), dim=2)
            hard = functional.one_hot(soft.argmax(2), soft.shape[2]).to(soft)
            gates[:] = (hard + soft - soft.detach()).flatten(1).T  # of a layer: (B,)
            batch = stream.batch(step)
            output = predict(model, batch.x_t, process.model_time(batch.t), batch.condition)
            assert batch.target is not None
            loss = functional.mse_loss(split_variance(output, batch.x_t.shape[1])[0], batch.target)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        size = logits.shape[1]
        return [group * size + int(choice) for group, choice in enumerate(logits.argmax(1))]


def _blocks(teacher: nn.Module) -> Any:
    if (blocks := getattr(teacher, "transformer_blocks", None)) is None:
        raise ValueError(f"depth_pruning is for a transformer but got a {type(teacher).__name__}")
    return blocks


def _of_layers(teacher: nn.Module, num: int) -> Any:
    """A fresh transformer like the teacher, of num layers."""
    model: Any = teacher
    model_class = family_of(teacher).model_class
    taken = model_class._get_init_keys(model_class)  # files of old versions say more
    config = {name: value for name, value in model.config.items() if name in taken}
    return model_class(**{**config, "num_layers": num})


def temperature(step: int, num_steps: int) -> float:
    """Of the Gumbel softmax: from 4 in the first step to 0.1 in the last, evenly."""
    first, last = TEMPERATURES
    return first + (last - first) * step / max(1, num_steps - 1)


def with_layers(teacher: nn.Module, kept: Sequence[int]) -> Any:
    """A transformer of the kept layers with the teacher's weights."""
    student = _of_layers(teacher, len(kept))
    weights = {name: value.detach().cpu() for name, value in teacher.state_dict().items()}
    source = {}
    for name in student.state_dict():
        layer = _LAYER.fullmatch(name)
        source[name] = weights[f"transformer_blocks.{kept[int(layer[1])]}.{layer[2]}" if layer else name]
    try:
        student.load_state_dict(source)
    except RuntimeError as error:
        raise ValueError(f"student.pruning.layers must hold the last layer but got {list(kept)}") from error
    family_of(teacher).prepare(student, False)
    return student


def _gate(blocks: Any, feature: Any) -> list[torch.Tensor]:
    """From now on layer i adds gates[i] (B,) times what it adds to its input."""
    gates: list[torch.Tensor] = [torch.ones(1) for _ in blocks]

    def gated(index: int) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            before = kwargs.get("hidden_states", args[0] if args else None)
            after = feature(output)
            mixed = before + gates[index].view(-1, *[1] * (after.ndim - 1)) * (after - before)
            if not isinstance(output, tuple):
                return mixed
            return tuple(mixed if value is after else value for value in output)

        return hook

    for index, block in enumerate(blocks):
        block.register_forward_hook(gated(index), with_kwargs=True)
    return gates
