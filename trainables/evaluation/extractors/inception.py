"""`inception`: torch-fidelity's Inception-v3, the network of the published FIDs, with weights that are loaded safely.

torch-fidelity unpickles its weights file, which can run code. Here the file is read as tensors only (safetensors, or
torch.load with weights_only=True), and a file that holds anything else is refused.
"""

import hashlib
import http.client
import io
import os
import urllib.request
from pathlib import Path

import safetensors.torch
import torch
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

NAME = "inception"
REGISTERED_NAME = "inception-v3-compat"
KEY = "evaluation.extractor_weights"
ALLOWED = "the path of torch-fidelity's Inception weights (.pth or .safetensors), or null to download them"
CONNECT_TIMEOUT_SECONDS = 5.0


def make_inception(weights_path: Path | None) -> FeatureExtractorInceptionV3:
    """The extractor on the CPU; its weights come from `weights_path`, else from torch's hub folder, else the network.

    Raises ValueError, naming the configuration key, where there are no weights or where the file is something else.
    """
    path = weights_path if weights_path is not None else downloaded_weights()
    state = read_tensors(path)
    buffer = (
        io.BytesIO()
    )  # torch-fidelity loads only from a file of its own format: give it one that we wrote ourselves
    torch.save(state, buffer)
    buffer.seek(0)
    layers = sorted({FeatureExtractorInceptionV3.get_default_feature_layer_for_metric(m) for m in ("fid", "isc")})
    try:
        with torch.random.fork_rng(devices=[]):  # the constructor draws initial weights before it loads the real ones
            return FeatureExtractorInceptionV3(REGISTERED_NAME, layers, feature_extractor_weights_path=buffer)
    except RuntimeError as error:
        raise ValueError(f"{KEY}={path} does not hold the weights of {REGISTERED_NAME}; allowed: {ALLOWED}") from error


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file or of a torch file that holds nothing but tensors; ValueError otherwise."""
    if not path.is_file():
        raise ValueError(f"{KEY}={path} is not a file; allowed: {ALLOWED}")
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler of torch.load trips over foreign bytes in whatever way
        raise ValueError(
            f"{KEY}={path} is not a file of tensors only and was not loaded; allowed: {ALLOWED}"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise ValueError(f"{KEY}={path} does not hold named tensors; allowed: {ALLOWED}")
    return tensors


def downloaded_weights() -> Path:
    """torch-fidelity's published weights in torch's hub folder, downloaded if they are not there yet.

    The first digits of the file's sha256 are in its name, as torch.hub has it, and are checked.
    """
    path: Path = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rpartition("/")[2]
    if path.is_file():
        return path
    try:
        with urllib.request.urlopen(URL_INCEPTION_V3, timeout=CONNECT_TIMEOUT_SECONDS) as response:
            content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(f"{KEY} is null and the weights cannot be downloaded ({error}); allowed: {ALLOWED}") from error
    expected = path.stem.rpartition("-")[2]
    if not hashlib.sha256(content).hexdigest().startswith(expected):
        raise ValueError(f"{KEY} is null and the download is not {path.name}; allowed: {ALLOWED}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    return temporary.replace(path)
