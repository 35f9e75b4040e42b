"""The benchmarks are run small: what they print and keep, and that they measure what they say."""

import importlib.metadata
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from study import bench
from study.benchmarks import loss, pack
from study.benchmarks.measuring import Options, Times, take_turns
from study.benchmarks.trial import CpuMeter

OPTIONS = Options(torch.device("cpu"), repeats=3)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["los"], "benchmark must be one of loss, step, pack"),
        (["loss", "device=tpu"], "device must be one of cpu, cuda but got 'tpu'"),
        (["loss", "repeats=0"], "repeats must be a whole number of 1 or more but got '0'"),
        (["fit"], "device must be cuda for fit but got 'cpu'"),
        (["loss", "speed=9"], "speed is not a key of the benchmarks; allowed: device, repeats, out"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: list[str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        bench.measure(arguments)


def test_a_benchmark_prints_its_values_and_keeps_them_with_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loss, "SHAPES", ((2, 3, 8, 8),))
    kept_in = Path("studies/bench")  # of the working directory: never a file of the repository
    kept_in.mkdir(parents=True)
    (kept_in / f"{bench.machine_kind(OPTIONS.device)}.json").write_text('{"pack": {"values": {"pack_speedup": 3.0}}}')
    assert bench.measure(["loss", "repeats=1"]) == 0
    lines = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines() if line.startswith("loss_speedup"))
    assert float(lines["loss_speedup_2x3x8x8"]) > 0
    (path,) = kept_in.iterdir()
    kept: dict[str, Any] = json.loads(path.read_text())
    assert kept["pack"]["values"] == {"pack_speedup": 3.0}  # what other benchmarks found stays
    assert kept["loss"]["command"].startswith("python -m study.bench loss repeats=1")
    assert kept["loss"]["versions"]["torch"] == importlib.metadata.version("torch")
    assert [row["K"] for row in kept["loss"]["rows"]] == [16, 64]


def test_the_loss_is_compared_on_the_same_numbers() -> None:
    rows = [loss.measure(shape, 16, Options(torch.device("cpu"), 1)) for shape in ((4, 1, 8, 8), (2, 3, 32, 32))]
    assert all(row["loss_difference"] < 1e-6 and row["gradient_difference"] < 1e-5 for row in rows)


def test_runs_take_turns() -> None:
    called: list[str] = []
    times = take_turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, OPTIONS)
    assert called == ["a", "b"] + ["a", "b"] * 3
    assert len(times["a"].wall) == 3


def test_a_ratio_is_between_neighbours() -> None:
    slow, quick = Times((4.0, 40.0, 6.0), (0, 0, 0)), Times((2.0, 20.0, 2.0), (0, 0, 0))
    assert slow.over(quick) == 2.0


def test_the_packs_have_every_method_on_every_teacher() -> None:
    packs = pack.packs_of_all_methods()
    assert [members[0].teacher.name for members in packs if members[0].teacher] == ["unet_16", "unet_64", "unet_160"]
    assert {len(members) for members in packs} == {7}


def test_processes_that_have_ended_are_counted() -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass\ntime.sleep(0.5)"
    with CpuMeter() as meter:
        before, own = meter.seconds(), time.process_time()
        subprocess.run([sys.executable, "-c", burn], check=True)
        spent = meter.seconds() - before - (time.process_time() - own)
    assert 0.4 < spent < 5.0


SMALL_SCALE = """
import json
from study.benchmarks import scale
scale.SIZES, scale.MEMBERS = {2: 100}, (100,)
result = scale.run(None)
print(json.dumps([list(result.rows), dict(result.values)]))
"""


@pytest.mark.full
def test_the_simulation_schedules_and_records_every_member() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [sys.executable, "-c", SMALL_SCALE]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    (sweep, look), values = json.loads(result.stdout.splitlines()[-1])
    assert (sweep["nodes"], sweep["gpus"], sweep["members"], sweep["trials"]) == (2, 16, 100, 5)
    assert sweep["first_record_s"] > 0
    assert 0 < sweep["sweep_cpu_s_per_member"] < sweep["all_cpu_s_per_member"]
    assert 0 < sweep["gcs_cpu_s_per_member"] < sweep["all_cpu_s_per_member"]
    assert look["packs"] == 20
    assert values["scale_records_per_s"] == sweep["records_per_s"]
    assert values["scale_look_s_100"] == look["bar_s"] + look["metrics_s"]
