"""From the command to the first training step of celeba_table6 with as many JPEGs as CelebA has, prepared before.

The files are 256 generated images of CelebA's 178 x 218 pixels under 202,599 names (hard links), with the official
partition's counts. The teachers' batch is two and evaluation that of the digits, for nothing here is on a GPU: what is
measured is everything that comes before the first step.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from study.benchmarks.faults.victims import processes
from study.benchmarks.measuring import Options, Result
from study.config.command_line import compose
from study.config.parse import study_config
from study.directory.layout import checkpoints_dir
from study.watching.progress import read_steps

NUM_IMAGES, NUM_DISTINCT = 202_599, 256
_ENDS = (162_770, 182_637, NUM_IMAGES)  # of train, validation and test in list_eval_partition.txt
_LIMIT_SECONDS = 900.0


def run(options: Options) -> Result:
    """Once, whatever the repeats: making, preparing and reading take minutes."""
    del options
    with tempfile.TemporaryDirectory(prefix="kd-large-") as name:
        return measure(Path(name), NUM_IMAGES)


def measure(home: Path, num_images: int) -> Result:
    """Makes num_images files in home, prepares them, starts the sweep and stops it at its first step."""
    overrides = [*make_images(home, num_images), f"study_dir={home / 'study'}"]
    started = time.perf_counter()
    study_config(compose("config", overrides)).data.identity()
    prepared = time.perf_counter() - started
    first_step, driver_gb, all_gb = _first_step(home, overrides)
    values = {"prepare_s": prepared, "first_step_s": first_step, "driver_gb": driver_gb, "all_processes_gb": all_gb}
    return Result([{"images": num_images} | values], values)


def make_images(home: Path, num_images: int) -> list[str]:
    """Writes the files and the partition; returns what points celeba_table6 at them."""
    images, partition = home / "images", home / "list_eval_partition.txt"
    images.mkdir()
    names = [f"{index + 1:06d}.jpg" for index in range(num_images)]
    rng = np.random.default_rng(0)
    for index, name in enumerate(names):
        if index < NUM_DISTINCT:
            small = Image.fromarray(rng.integers(0, 256, (14, 12, 3), dtype=np.uint8))
            small.resize((178, 218), Image.Resampling.BICUBIC).save(images / name, quality=85)
        else:
            os.link(images / names[index % NUM_DISTINCT], images / name)
    ends = [end * num_images // NUM_IMAGES for end in _ENDS]
    lines = (f"{name} {sum(index >= end for end in ends[:2])}\n" for index, name in enumerate(names))
    partition.write_text("".join(lines))
    return [
        "+experiment=celeba_table6",
        f"data.path={images}",
        f"data.partition={partition}",
        f"data.cache={home / 'cache'}",
        "evaluation=digits",
        "evaluation.image_size=8",
        "cluster.gpus_per_worker=0",
        "train.batch_size=2",
        "teacher_train.batch_size=2",
    ]


def _first_step(home: Path, overrides: Sequence[str]) -> tuple[float, float, float]:
    """Seconds to the first step in a progress file, and the most GB of the driver and of all processes until then."""
    command = [sys.executable, "-m", "study.sweep", *overrides]
    most, output = [0.0, 0.0], home / "sweep.txt"
    started = time.perf_counter()
    with output.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT) as sweep:
        try:
            while steps(home / "study") < 1:
                if sweep.poll() is not None or time.perf_counter() - started > _LIMIT_SECONDS:
                    raise RuntimeError(f"no step was made: {output.read_text()[-2000:]}")
                most = [max(pair) for pair in zip(most, _memory_gb(sweep.pid), strict=True)]
                time.sleep(0.5)
            seconds = time.perf_counter() - started
        finally:
            sweep.send_signal(signal.SIGINT)
    return seconds, most[0], most[1]


def steps(study_dir: Path) -> int:
    """The most steps that a teacher or a pack says it has made."""
    folders = checkpoints_dir(study_dir).glob("*")
    return max((read_steps(folder) for folder in folders), default=0)


def _memory_gb(driver: int) -> tuple[float, float]:
    """Proportional set sizes of the driver, and of all that this process has begun."""
    sizes = {pid: proportional_set_size(pid) for pid in processes()}
    return sizes.get(driver, 0) / 1e9, sum(sizes.values()) / 1e9


def proportional_set_size(pid: int) -> int:
    """Bytes, each shared page divided by those who share it; 0 where the process has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
