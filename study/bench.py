"""kd-study bench [NAME ...] [device=cpu] [repeats=7] [out=studies/bench]: measures what it costs on this machine.

`python -m study.bench` is the same. NAME is one or more of loss, step, pack, feed, checkpoint, evaluate, plan and
trial, by default all of these; of paper, ddp, chaos, strikes, scale, neighbours, large_folder and fit only by name.
Prints a table and plain lines `name value`, and keeps both, with machine and versions, in <out>/<machine-kind>.json.

    kd-study bench pack repeats=3
    kd-study bench pack step device=cuda
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config.command_line import entry_point
from trainables.checks import meant, require_device

if TYPE_CHECKING:
    import torch

    from study.benchmarks.measuring import Options, Result

NAMES = ("loss", "step", "pack", "feed", "checkpoint", "evaluate", "plan", "trial")
_BY_NAME_ONLY = ("paper", "ddp", "chaos", "strikes", "scale", "neighbours", "large_folder", "fit")  # take minutes
_FOLDERS = {"chaos": "faults.chaos", "strikes": "faults.strikes", "fit": "gpu.fit"}
_KEYS = {"device": "cpu", "repeats": "7", "out": "studies/bench"}


def main(argv: list[str]) -> int:
    """`measure` in a process like a worker's."""
    _names(argv)
    _overrides(argv)
    _become_like_a_worker(argv)
    return measure(argv)


def measure(argv: list[str]) -> int:
    """Runs the benchmarks that argv names, all but those that take minutes by default."""
    names, settings = _names(argv), _KEYS | _overrides(argv)
    options = _options(settings)
    for name in names:
        result: Result = importlib.import_module(f"study.benchmarks.{_FOLDERS.get(name, name)}").run(options)
        print(f"\n{name}\n{_table(result.rows)}")
        for key, value in result.values.items():
            print(f"{key} {value:.4g}")
        path = _keep(Path(settings["out"]), name, result, ["python", "-m", "study.bench", *argv], options)
        print(f"kept in {path}")
    return 0


def machine_kind(device: torch.device) -> str:
    """A name for machines of this kind, e.g. cpu-2-cores or nvidia-h200."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {_num_cores()} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _names(argv: Sequence[str]) -> list[str]:
    names = [argument for argument in argv if "=" not in argument and argument != "all"] or list(NAMES)
    for name in names:
        if name not in NAMES + _BY_NAME_ONLY:
            allowed = [*NAMES, *_BY_NAME_ONLY, "all"]
            raise ValueError(f"benchmark must be one of {', '.join(allowed)} but got {name!r}{meant(name, allowed)}")
    return names


def _overrides(argv: Sequence[str]) -> dict[str, str]:
    found = dict(argument.split("=", 1) for argument in argv if "=" in argument)
    for key in found:
        if key not in _KEYS:
            raise ValueError(f"{key} is not a key of the benchmarks; allowed: {', '.join(_KEYS)}")
    return found


def _options(settings: Mapping[str, str]) -> Options:
    import torch

    from study.benchmarks.measuring import Options

    device, repeats = settings["device"], settings["repeats"]
    require_device("device", device)
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be cpu where there is no GPU but got 'cuda'")
    if not repeats.isdecimal() or int(repeats) < 1:
        raise ValueError(f"repeats must be a whole number of 1 or more but got {repeats!r}")
    if device == "cpu":
        torch.set_num_threads(1)  # as a worker of the embedded study has
    return Options(torch.device(device), int(repeats))


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _keep(folder: Path, name: str, result: Result, command: Sequence[str], options: Options) -> Path:
    import torch

    path = folder / f"{machine_kind(options.device)}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept[name] = {
        "command": shlex.join(command),
        "measured_at": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": {"processor": _processor(options.device), "cores": _num_cores(), "threads": torch.get_num_threads()},
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "diffusers")},
        "values": dict(result.values),
        "rows": [dict(row) for row in result.rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n")
    return path


def _num_cores() -> int:
    return len(os.sched_getaffinity(0))


def _processor(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _become_like_a_worker(argv: Sequence[str]) -> None:
    """Starts this process anew in a worker's environment: what the C library reads of it, it reads at the start."""
    from study.execution.memory import MEMORY

    if not MEMORY.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, "-m", "study.bench", *argv], os.environ | MEMORY)


if __name__ == "__main__":
    entry_point(main)
