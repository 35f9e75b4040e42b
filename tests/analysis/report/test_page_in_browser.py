"""The page in headless Chromium: nothing sticks out sideways, nothing fails, sorting works, light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser import CHROMIUM, visit
from synthetic_study import make_row, search_rows, toy_rows, variant_rows, write_evaluation_files, write_study

from analysis.report.write import write_report

# Runs after the page's own script: opens everything, sorts by every column, and leaves what it saw in the document.
PROBE = """
<script>
const height = document.documentElement.scrollHeight;
for (const details of document.querySelectorAll("details")) details.open = true;
const means = () => [...document.querySelector("table.data").tBodies[0].rows].map((row) =>
Number(row.cells[4].dataset.sort)); for (const button of document.querySelectorAll("th button")) button.click();
const mean = document.querySelector("table.data").querySelectorAll("th button")[4];
mean.click();
const once = means();
mean.click();
const seen = {
  inner: innerWidth, height: height, scroll: document.documentElement.scrollWidth, once: once, twice: means(),
  background: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
  loaded: performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) =>
!name.startsWith("data:")), };
document.body.setAttribute("data-seen", JSON.stringify(seen));
</script>
"""

TAGS = {"study": "<script>alert(2)</script>", "device": "<img src=x onerror=alert(3)>", "torch": "<script>alert(4)"}

pytestmark = [pytest.mark.full, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The page of a full study, with a method that is named like a tag, and of the paper's table."""
    folder = tmp_path_factory.mktemp("pages")
    rows = toy_rows()
    rows += [make_row("<script>alert(1)</script>", "small", seed, 70.0 + seed, **TAGS) for seed in range(5)]
    write_study(folder / "study", rows + search_rows() + variant_rows())
    write_evaluation_files(folder / "study", rows)
    reports = {
        "study": write_report([folder / "study"], folder / "report"),
        "table6": write_report([], folder / "table6", published="table6"),
    }
    return {name: report.index.read_text(encoding="utf-8") for name, report in reports.items()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["study", "table6"])
def test_the_page_fits_and_nothing_fails(
    name: str, width: int, scheme: str, pages: dict[str, str], tmp_path: Path
) -> None:
    page = pages[name].replace("</body>", PROBE + "</body>")
    seen, document, log = visit(page, width, scheme, tmp_path)
    assert "CONSOLE" not in log
    assert seen["inner"] == width
    assert seen["scroll"] <= width, f"{seen['scroll']} pixels wide"
    assert seen["loaded"] == []
    assert width > 500 or seen["height"] <= 8000, f"{seen['height']} pixels tall"
    known = [mean for mean in seen["once"] if mean]
    assert known == sorted(known)
    assert seen["twice"] == seen["once"][::-1] or len(set(known)) < len(known)
    dark = sum(map(int, re.findall(r"\d+", str(seen["background"]))[:3])) < 384
    assert dark == (scheme == "dark")
    if name == "study":
        assert "<script>alert(" not in document
        assert "<img src=x" not in document
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in document
