"""The diffusion process: how x_0 becomes x_t, what a model is asked for, and how images are sampled.

Shapes: B batch, C channels, H height, W width. A timestep is an index into the process' T steps, 0 the cleanest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables import plugins
from trainables.checks import check_keys, require_choice, require_number, require_whole

if TYPE_CHECKING:
    import torch

# The paper's pixel recipe (Ho et al. 2020).
_LINEAR = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "prediction_type": "epsilon",
    "clip_sample": False,
}
DIFFUSION, FLOW = "DDPMScheduler", "FlowMatchEulerDiscreteScheduler"
LEARNED_RANGE = "learned_range"
_SAMPLERS: dict[str, dict[str, str]] = {  # classes of diffusers, which takes seconds to import
    DIFFUSION: {"ddim": "DDIMScheduler", "ddpm": "DDPMScheduler", "pndm": "PNDMScheduler"},
    FLOW: {"euler": "FlowMatchEulerDiscreteScheduler"},
}
SAMPLERS = tuple(sampler for samplers in _SAMPLERS.values() for sampler in samplers)
SPACINGS = ("leading", "linspace")  # linspace is of ddpm alone: the others of diffusers step on evenly whatever it is
PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True, kw_only=True)
class Process:
    """A diffusers scheduler by class name and config.

    DDPMScheduler: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise; the model predicts the noise (epsilon) or
    v = sqrt(abar_t) noise - sqrt(1 - abar_t) x_0 (v_prediction, Salimans and Ho 2022). FlowMatchEulerDiscreteScheduler:
    x_t = (1 - sigma) x_0 + sigma noise; the model predicts the velocity noise - x_0 (Esser et al. 2024).
    """

    scheduler: str = DIFFUSION
    config: Mapping[str, Any] = field(default_factory=lambda: dict(_LINEAR), hash=False)

    def __post_init__(self) -> None:
        require_choice("process.scheduler", self.scheduler, tuple(_SAMPLERS))
        self._check_numbers()

    def check(self) -> None:
        """Raises ValueError where diffusers refuses the config, or does not know a key of it; imports diffusers."""
        try:
            scheduler = self._scheduler
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(
                f"process.config {dict(self.config)} does not describe a {self.scheduler}: {error}"
            ) from error
        check_keys("process.config", self.config, list(scheduler.config))
        if not self.is_flow:
            require_choice("process.config.prediction_type", scheduler.config.prediction_type, PREDICTIONS)

    def _check_numbers(self) -> None:
        """What diffusers takes as it comes, and fails on late."""
        if not isinstance(self.config, Mapping):
            raise ValueError(f"process.config must be a mapping of keys to values but got {self.config!r}")
        if "num_train_timesteps" in self.config:
            require_whole("process.config.num_train_timesteps", self.config["num_train_timesteps"], 1, 10**5)
        for key in {"beta_start", "beta_end"} & set(self.config):
            require_number(f"process.config.{key}", self.config[key], above=0, below=1)
        if "shift" in self.config:
            require_number("process.config.shift", self.config["shift"], above=0)

    @property
    def is_flow(self) -> bool:
        return self.scheduler == FLOW

    @property
    def num_timesteps(self) -> int:
        return int(self.config.get("num_train_timesteps", _LINEAR["num_train_timesteps"]))

    def identity(self) -> dict[str, Any]:
        return {"scheduler": self.scheduler, "config": dict(self.config)}

    def trains_like(self, other: Process) -> bool:
        """Whether both ask the same of a model. Configs that differ may do so in sampling alone, or in defaults."""
        import torch

        if (self.scheduler, self.num_timesteps) != (other.scheduler, other.num_timesteps):
            return False
        if self.is_flow:
            return torch.equal(self._sigmas, other._sigmas)
        mine, others = (process._scheduler.config.prediction_type for process in (self, other))
        return mine == others and torch.equal(self.alphas_cumprod, other.alphas_cumprod)

    def noised(self, x_0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_t (B, C, H, W) of timesteps t (B,)."""
        if not self.is_flow:
            return self._scheduler.add_noise(x_0, noise, t)  # type: ignore[no-any-return]
        sigma = self._sigmas[t.cpu()].to(x_0).view(-1, 1, 1, 1)
        return (1 - sigma) * x_0 + sigma * noise

    def target(self, x_0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """What diffusion training asks of the model, (B, C, H, W)."""
        if self.is_flow:
            return noise - x_0
        if self._scheduler.config.prediction_type == "v_prediction":
            return self._scheduler.get_velocity(x_0, noise, t)  # type: ignore[no-any-return]
        return noise

    def clean(self, x_t: torch.Tensor, prediction: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The x_0 (B, C, H, W) that a prediction at timesteps t (B,) of a diffusion stands for."""
        abar = _there(self, "alphas_cumprod", x_t.device)[t].view(-1, 1, 1, 1)
        signal, spread = abar.sqrt().to(x_t.dtype), (1 - abar).sqrt().to(x_t.dtype)
        if self._scheduler.config.prediction_type == "v_prediction":
            return signal * x_t - spread * prediction
        return (x_t - spread * prediction) / signal

    def denoised(
        self, x_t: torch.Tensor, output: torch.Tensor, t: torch.Tensor, to: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """x (B, C, H, W) at earlier timesteps `to` (B,), to = t staying: an ancestral step (Ho et al. 2020), or Euler's
        for a flow, which takes no noise.

        output: what the model says, (B, C, H, W), or (B, 2C, H, W) with a learned variance (Nichol and Dhariwal 2021,
        equation 15); else the step's variance is that of the posterior. noise: (B, C, H, W), normal.
        """
        prediction, variance = output[:, : x_t.shape[1]], output[:, x_t.shape[1] :]
        if self.is_flow:
            sigmas = self._sigmas.to(x_t.device, x_t.dtype)
            return x_t + (sigmas[to] - sigmas[t]).view(-1, 1, 1, 1) * prediction
        abar, abar_to = (self.alphas_cumprod.to(x_t.device)[at].view(-1, 1, 1, 1) for at in (t, to))
        alpha = abar / abar_to
        beta = 1 - alpha
        posterior = ((1 - abar_to) / (1 - abar) * beta).clamp(min=1e-20)
        of_x_0 = (abar_to.sqrt() * beta / (1 - abar)).to(x_t.dtype)
        of_x_t = (alpha.sqrt() * (1 - abar_to) / (1 - abar)).to(x_t.dtype)
        share = (variance + 1) / 2 if variance.shape[1] else x_t.new_zeros(())
        log_variance = share * beta.clamp(min=1e-20).log() + (1 - share) * posterior.log()
        spread = (0.5 * log_variance).exp().to(x_t.dtype)
        return of_x_0 * self.clean(x_t, prediction, t) + of_x_t * x_t + spread * noise

    def model_time(self, t: torch.Tensor) -> torch.Tensor:
        """What the model is told of timesteps t (B,): themselves, or 1000 sigma for a flow."""
        return _there(self, "_sigmas", t.device)[t] * self.num_timesteps if self.is_flow else t

    def save(self, folder: Path) -> None:
        """Writes the scheduler's config, which diffusers' schedulers load."""
        self._scheduler.save_pretrained(folder)

    def require_sampler(self, name: str) -> None:
        """Raises ValueError for a sampler that is not of the process, and for module:name that is no scheduler."""
        if not plugins.is_path(name):
            require_choice("evaluation.sampler", name, tuple(_SAMPLERS[self.scheduler]))
        elif not hasattr(plugins.load("evaluation.sampler", name), "from_config"):
            raise ValueError(f"evaluation.sampler={name} must be a scheduler of diffusers")

    def sampler(self, name: str, num_steps: int, *, spacing: str = SPACINGS[0], learned_variance: bool = False) -> Any:
        """A diffusers scheduler set to num_steps. Its step() takes the model's output, with the variance if learned.

        pndm is the one of Stable Diffusion: linear multistep without Runge-Kutta steps (Liu et al. 2022).
        """
        self.require_sampler(name)
        own: dict[str, Any] = {"skip_prk_steps": True} if name == "pndm" else {}
        if not self.is_flow:
            own["timestep_spacing"] = spacing
        if learned_variance and name == "ddpm":
            own["variance_type"] = LEARNED_RANGE
        is_own = plugins.is_path(name)
        scheduler: Any = plugins.load("evaluation.sampler", name) if is_own else self._class_of(name)
        sampler = scheduler.from_config(self._scheduler.config, **own)
        sampler.set_timesteps(num_steps)
        if is_own and getattr(sampler, "init_noise_sigma", 1) != 1:
            raise ValueError(f"evaluation.sampler={name} must start from noise of variance 1, but scales its inputs")
        return sampler

    def _class_of(self, sampler: str) -> Any:
        return _scheduler_class(_SAMPLERS[self.scheduler][sampler])

    @cached_property
    def _scheduler(self) -> Any:
        return _scheduler_class(self.scheduler)(**self.config)

    @cached_property
    def _sigmas(self) -> torch.Tensor:
        """(T,), ascending with the timestep."""
        sigmas: torch.Tensor = self._scheduler.timesteps / self._scheduler.config.num_train_timesteps
        return sigmas.flip(0)

    def betas_on(self, device: torch.device) -> torch.Tensor:
        """`betas` where a model is."""
        return _there(self, "betas", device)

    @property
    def betas(self) -> torch.Tensor:
        """beta_t (T,) of a diffusion, float64."""
        import torch

        return self._scheduler.betas.to(torch.float64)  # type: ignore[no-any-return]

    @cached_property
    def alphas_cumprod(self) -> torch.Tensor:
        """abar_t (T,) of a diffusion, float64: of 1 - abar_t, diffusers' float32 has three digits where t is small."""
        return (1 - self.betas).cumprod(0)


@lru_cache(maxsize=64)
def _there(process: Process, name: str, device: torch.device) -> torch.Tensor:
    """A tensor of the process on a device, copied once: while a CUDA graph is captured, nothing can be."""
    found: torch.Tensor = getattr(process, name).to(device)
    return found


PIXEL = Process()


def _scheduler_class(name: str) -> Any:
    import diffusers

    return getattr(diffusers, name)


def antithetic_timesteps(batch_size: int, num_timesteps: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps (B,) int64: t and T - 1 - t in one batch, as Diff-Pruning draws them; an odd batch drops the last."""
    import torch

    t = torch.randint(0, num_timesteps, ((batch_size + 1) // 2,), generator=generator)
    return torch.cat([t, num_timesteps - 1 - t])[:batch_size]


def uniform_timesteps(batch_size: int, num_timesteps: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps (B,) int64, independent and uniform over 0 .. T - 1."""
    import torch

    return torch.randint(0, num_timesteps, (batch_size,), generator=generator)


TIMESTEPS: dict[str, Callable[[int, int, torch.Generator], torch.Tensor]] = {
    "antithetic": antithetic_timesteps,
    "uniform": uniform_timesteps,
}
