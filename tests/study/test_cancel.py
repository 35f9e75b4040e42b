"""study.cancel and a spent budget, on a real sweep: it stops in a sentence, and the same command goes on."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_sweep import Sweep, sweep_command

from analysis.records.rows import finished_run_ids

pytestmark = pytest.mark.full
SMALL = ("teachers=[unet_16]", "methods=[diffusion_only,out_kd]", "pack.max_members=1")  # four members
LATE = 300.0


@pytest.mark.parametrize("how", ["cancel", "sigterm"])
def test_a_sweep_is_stopped_from_outside(how: str, cluster_address: str, tmp_path: Path) -> None:
    command = sweep_command(tmp_path, f"cluster.address={cluster_address}", *SMALL)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + LATE
        while not (tmp_path / "study.yaml").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        if how == "sigterm":
            process.send_signal(signal.SIGTERM)
        else:
            cancel = [sys.executable, "-m", "study.cancel", f"study_dir={tmp_path}"]
            result = subprocess.run(cancel, capture_output=True, text=True, timeout=LATE, check=True)
            assert "has stopped; run its command again to go on" in result.stdout
        _, errors = process.communicate(timeout=LATE)
    assert process.returncode == 130
    assert "run the same command again to go on" in errors
    assert not list(tmp_path.glob("sweep-*"))


def test_a_spent_budget_ends_in_a_sentence_and_more_of_it_goes_on(sweep: Sweep, tmp_path: Path) -> None:
    two = ("teachers=[unet_16]", "methods=[diffusion_only]")  # members
    first = sweep(tmp_path, *two, "seeds=[0]")
    assert first.returncode == 0, first.stderr
    result = sweep(tmp_path, *two, "max_device_hours=1e-9")
    assert result.returncode == 3
    assert "stopped: max_device_hours=1e-09 is spent" in result.stderr
    assert len(finished_run_ids(tmp_path)) == 1
    result = sweep(tmp_path, *two, "max_device_hours=100")
    assert result.returncode == 0, result.stderr
    assert len(finished_run_ids(tmp_path)) == 2
