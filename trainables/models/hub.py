"""Models of the Hugging Face hub: what of a repository is needed, whether it can be had, and fetching it.

Everything lies in the hub's own cache (HF_HOME), which every machine has for itself.
"""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from trainables.specs import Pretrained

_WEIGHTS = ("safetensors", "bin")
_NETWORK = ("httpx", "httpcore", "requests")  # whose errors the hub's client lets through


def cached_repository(pretrained: Pretrained) -> Path | None:
    """The repository's folder in the cache of this machine, whatever of it is there; None without one."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(_repository(pretrained), revision=pretrained.revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def fetch_configs(pretrained: Pretrained) -> Path:
    """The folder with the small files that say what the model is. Raises ValueError, in a line, where it cannot be had
    or the hub has no weights of it.
    """
    from huggingface_hub import HfApi

    def listed() -> list[str]:
        found = HfApi().model_info(_repository(pretrained), revision=pretrained.revision, timeout=10)
        return [file.rfilename for file in found.siblings or ()]

    names = _asked(pretrained, listed)
    if not any(fnmatch(name, pattern) for pattern in _weights(pretrained, *_WEIGHTS) for name in names):
        raise ValueError(f"{pretrained.hub} has no weights of the model: {', '.join(_weights(pretrained, *_WEIGHTS))}")
    return _download(pretrained, _configs(pretrained))


def fetch_repository(pretrained: Pretrained) -> Path:
    """The folder with the model: its safetensors weights, or torch's own where it has no others.

    Raises ValueError, in a line, when it cannot be fetched.
    """
    root = _download(pretrained, [*_configs(pretrained), *_weights(pretrained, "safetensors")])
    if not any(path.suffix == ".safetensors" for path in (root / (pretrained.subfolder or "")).iterdir()):
        root = _download(pretrained, [*_configs(pretrained), *_weights(pretrained, "bin")])
    return root


def _download(pretrained: Pretrained, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    def fetched() -> str:
        return snapshot_download(_repository(pretrained), revision=pretrained.revision, allow_patterns=list(patterns))

    return Path(_asked(pretrained, fetched))


def _asked(pretrained: Pretrained, ask: Any) -> Any:
    """What the hub answers. Raises ValueError with the cause alone, of which the hub's own messages have many lines."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return ask()
    except Exception as error:
        cause = _cause(error, pretrained)
        is_known = isinstance(error, (HfHubHTTPError, HFValidationError, OSError))
        if not is_known and type(error).__module__.partition(".")[0] not in _NETWORK:
            raise
        raise ValueError(f"{pretrained.hub} cannot be fetched from the hub: {cause}") from error


def _cause(error: Exception, pretrained: Pretrained) -> str:
    from huggingface_hub import errors

    causes: tuple[tuple[type[Exception], str], ...] = (
        (errors.GatedRepoError, "its licence must be accepted there, and HF_TOKEN be set to a token of who did"),
        (errors.RepositoryNotFoundError, "there is no such repository, or HF_TOKEN may not read it"),
        (errors.RevisionNotFoundError, f"it has no revision {pretrained.revision or 'main'}"),
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE forbids it, and it is not in the cache (HF_HOME)"),
        (errors.LocalEntryNotFoundError, "the hub cannot be reached, and it is not in the cache (HF_HOME)"),
    )
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    if type(error).__module__.partition(".")[0] in _NETWORK:
        said = f"the hub cannot be reached ({type(error).__name__})"
    return next((cause for kind, cause in causes if isinstance(error, kind)), said)


def _repository(pretrained: Pretrained) -> str:
    assert pretrained.hub is not None
    return pretrained.hub


def _configs(pretrained: Pretrained) -> list[str]:
    folder = f"{pretrained.subfolder}/" if pretrained.subfolder else ""
    return [f"{folder}*.json", "scheduler/*.json", "scheduler_config.json"]


def _weights(pretrained: Pretrained, *endings: str) -> list[str]:
    folder = f"{pretrained.subfolder}/" if pretrained.subfolder else ""
    variant = f".{pretrained.variant}" if pretrained.variant else ""
    name = f"{folder}diffusion_pytorch_model"
    return [f"{name}{part}.{ending}" for ending in endings for part in (variant, f"{variant}-?????-of-?????")]
