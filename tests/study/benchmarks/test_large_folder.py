"""What the start from a large folder is measured on, with a few hundred files; and what it looks at meanwhile."""

import os
from pathlib import Path

from study.benchmarks import large_folder
from study.config.command_line import compose
from study.config.parse import study_config
from study.watching.progress import ProgressFiles


def test_the_files_are_read_as_celeba_with_its_partition(tmp_path: Path) -> None:
    overrides = large_folder.make_images(tmp_path, 600)
    data = study_config(compose("config", [*overrides, f"study_dir={tmp_path / 'study'}"])).data
    identity = data.identity()
    assert identity["num_images"] == 482
    assert len(list((tmp_path / "images").iterdir())) == 600
    splits = [line.split()[1] for line in (tmp_path / "list_eval_partition.txt").read_text().splitlines()]
    assert [splits.count(str(index)) for index in range(3)] == [482, 58, 60]


def test_the_first_step_and_the_memory_are_seen(tmp_path: Path) -> None:
    assert large_folder.steps(tmp_path) == 0
    ProgressFiles(tmp_path / "checkpoints")("a teacher", 1)
    assert large_folder.steps(tmp_path) == 1
    assert large_folder.proportional_set_size(os.getpid()) > 10_000_000
    assert large_folder.proportional_set_size(2**30) == 0  # nobody has this id
