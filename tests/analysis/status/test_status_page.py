"""The status page escapes what it shows, and fits a telephone and the dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser import CHROMIUM, visit

from analysis.status.page import render_status
from analysis.status.status import (
    RUNNING,
    CellStatus,
    PackStatus,
    Remark,
    StudyStatus,
    TeacherStatus,
    duration,
    terminal_status,
)

TAG = "<script>alert(1)</script>"
LONG = "a_method_with_a_name_of_the_longest_kind_via_an_assistant_of_width_1024"


def example(state: str = RUNNING) -> StudyStatus:
    cells = [
        CellStatus(teacher=TAG, method="out_kd", planned=5, ok=3, collapsed=1, running=1, fids=(30.0, 31.0, 250.0)),
        CellStatus(teacher="unet_160", method=LONG, planned=5, diverged=1),
    ]
    pack = PackStatus(teacher=TAG, seeds=(0,), methods=("out_kd", LONG), num_members=2, num_steps=500, steps=50)
    return StudyStatus(
        study=TAG, study_dir=f"/very/long/{'x' * 120}", state=state, sweep="a sweep runs there", planned=10, finished=5,
        not_planned=2, teachers=[TeacherStatus(name="unet_160", state="training", steps=50, num_steps=700)],
        cells=cells, running=[pack], waiting=[pack] * 12,
        failures=[Remark(text=f"12:00:00 failed: {TAG}{'y' * 150}", run_id="0" * 16)],
        bad=[Remark(text="lift, teacher unet_16, seed 3: diverged at step 7", run_id="1" * 16)] * 60,
        member_steps_per_second=12.5, device_seconds=3600.0, device_seconds_left=7200.0, seconds_left=3599.0,
    )  # fmt: skip


def test_whatever_it_shows_is_escaped_and_nothing_is_fetched() -> None:
    page = render_status(example(), refresh_seconds=5)
    assert TAG not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 4
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert '<meta http-equiv="refresh" content="5">' in page
    assert "and 2 more packs" in page
    assert "and 10 more" in page


def test_a_page_of_a_study_that_does_not_run_stays_as_it_is() -> None:
    assert "http-equiv" not in render_status(example("stopped"), refresh_seconds=5)


def test_the_terminal_says_the_same() -> None:
    text = terminal_status(example())
    for part in ("50%", "5 of 10 finished (1 collapsed, 1 diverged)", "1 running, 4 waiting", "103.7 ± 126.7"):
        assert part in text
    assert "about 2 h 00 min of devices, 60 min from now" in text
    assert "0 of 1 made; training: unet_160 at step 50 of 700" in text


def test_durations() -> None:
    seconds = (0.4, 89, 90, 3600 * 5 + 300, 3600 * 50)
    assert [duration(one) for one in seconds] == ["0 s", "89 s", "2 min", "5 h 05 min", "2 d 2 h"]


@pytest.mark.full
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "light"), (390, "dark")])
def test_it_fits(width: int, scheme: str, tmp_path: Path) -> None:
    probe = "<script>document.body.setAttribute('data-seen', JSON.stringify({inner: innerWidth, scroll:"
    probe += " document.documentElement.scrollWidth, background: getComputedStyle(document.body).backgroundColor}))"
    page = render_status(example("stopped")).replace("</body>", f"{probe}</script></body>")
    seen, _, log = visit(page, width, scheme, tmp_path)
    assert "CONSOLE" not in log
    assert (seen["inner"], seen["scroll"] <= width) == (width, True), seen
    dark = sum(map(int, re.findall(r"\d+", str(seen["background"]))[:3])) < 384
    assert dark == (scheme == "dark")
