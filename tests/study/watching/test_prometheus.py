"""A sweep on a live cluster as an operator sees it: Prometheus, Grafana's queries, Ray's own pages, logs, status."""

import json
import math
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_sweep import sweep_command

from analysis.records.rows import finished_run_ids, read_runs
from analysis.status.status import FINISHED
from study.watching.events import read_events
from study.watching.find_status import find_status, planned_study

WATCHING = files("study.watching")
PROMETHEUS = shutil.which("prometheus")
DASHBOARD = json.loads((WATCHING / "grafana_dashboard.json").read_text())
TARGETS = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
# A name of its own: for minutes Ray goes on showing what earlier studies of the shared cluster counted.
NAME = "watched"
# Methods with and without teacher, gate and features; long enough to be scraped while it trains.
STUDY = (
    f"study={NAME}",
    "teachers=[unet_16]",
    "methods=[diffusion_only,lift_place_feat]",
    "seeds=[0]",
    "train.steps=400",
    "loggers=[tensorboard]",
)


@dataclass(frozen=True)
class Watched:
    """A study that was swept while a Prometheus scraped its cluster, which is still up."""

    study_dir: Path
    url: str
    seconds: tuple[float, float]  # of the sweep: first and last

    def ask(self, path: str, **values: Any) -> Any:
        query = urllib.parse.urlencode(values, doseq=True)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            found = json.load(answer)
        assert found["status"] == "success"
        return found["data"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def watched(cluster_address: str, cluster_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    config = yaml.safe_load((WATCHING / "prometheus.yml").read_text())
    (scrape,) = config["scrape_configs"]
    assert scrape["file_sd_configs"] == [{"files": ["/tmp/ray/prom_metrics_service_discovery.json"]}]
    scrape["file_sd_configs"][0]["files"] = [str(cluster_dir / "prom_metrics_service_discovery.json")]
    config["global"]["scrape_interval"] = "1s"
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [str(PROMETHEUS), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    started = time.time()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as prometheus:
        try:
            sweep = sweep_command(folder / "study", f"cluster.address={cluster_address}", *STUDY)
            result = subprocess.run(
                sweep, capture_output=True, text=True, timeout=300, check=False, env=dict(os.environ)
            )
            assert result.returncode == 0, result.stderr
            yield Watched(folder / "study", f"http://127.0.0.1:{port}", (started, time.time()))
        finally:
            prometheus.terminate()
            prometheus.wait(timeout=30)


@pytest.mark.full
@pytest.mark.skipif(PROMETHEUS is None, reason="needs prometheus on the PATH")
class TestWithPrometheus:
    @pytest.mark.parametrize(("title", "expression"), TARGETS, ids=[title for title, _ in TARGETS])
    def test_every_query_of_the_dashboard_finds_something(self, title: str, expression: str, watched: Watched) -> None:
        query = expression.replace("$__rate_interval", "15s")
        for name, value in (("study", NAME), ("teacher", ".*"), ("method", ".*")):
            query = query.replace(f"${name}", value)
        assert "$" not in query
        first, last = watched.seconds
        found = watched.ask("query_range", query=query, start=first, end=last, step="1s")["result"]
        values = [float(value) for series in found for _, value in series["values"]]
        assert any(map(math.isfinite, values)), title
        assert all("run_id" not in series["metric"] for series in found)

    def test_the_variables_find_their_values(self, watched: Watched) -> None:
        expected = {
            "study": {NAME},
            "teacher": {"unet_16", "none"},
            "method": {"diffusion_only", "lift_place_feat"},
        }
        for variable in DASHBOARD["templating"]["list"]:
            if variable["type"] == "query":
                match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
                assert match is not None
                series = match[1].replace("$study", NAME)
                found = watched.ask(f"label/{match[2]}/values", **{"match[]": series})
                assert expected[variable["name"]] <= set(found)
                assert variable["name"] == "study" or expected[variable["name"]] == set(found)

    def test_the_figures_are_those_of_the_records(self, watched: Watched) -> None:
        rows = read_runs(watched.study_dir).to_pylist()
        first, last = watched.seconds
        mine = f'{{study="{NAME}"}}'
        for metric, expected in (("ray_kd_members", {2}), ("ray_kd_packs", {2})):
            query = f"sum({metric}{mine})"
            (found,) = watched.ask("query_range", query=query, start=first, end=last, step="1s")["result"]
            assert {int(value) for _, value in found["values"]} == expected
        steps = watched.ask("query", query=f"max_over_time(ray_kd_member_steps_total{mine}[10m])")["result"]
        counted = {one["metric"]["method"]: float(one["value"][1]) for one in steps}
        for row in rows:  # what a process counts in its last second is not scraped
            assert 0.5 * row["steps"] < counted[row["method"]] <= row["steps"]

    def test_tags_stay_few(self, watched: Watched) -> None:
        labels = {name for one in watched.ask("series", **{"match[]": '{__name__=~"ray_kd_.*"}'}) for name in one}
        rays = {name for name in labels if name[0].isupper() or name.startswith(("otel_", "__"))}
        assert labels - rays == {"study", "teacher", "method", "state", "term", "instance", "job"}

    def test_rays_dashboard_knows_the_trainings(self, watched: Watched, dashboard_url: str) -> None:
        request = urllib.request.Request(
            f"{dashboard_url}/api/train/v2/runs/v1", headers={"Authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            runs = json.load(answer)["train_runs"]
        assert "FINISHED" in {run["status"] for run in runs}

    def test_the_logs_tell_the_story(self, watched: Watched) -> None:
        events = read_events(watched.study_dir)
        names = [event["event"] for event in events]
        assert (names[0], names[-1]) == ("sweep_started", "sweep_ended")
        assert sorted(names[1:-1]) == sorted(["pack_started", "member_finished", "pack_ended"] * 2)
        finished = {event["run_id"]: event["fid"] for event in events if event["event"] == "member_finished"}
        assert finished == {row["run_id"]: row["fid"] for row in read_runs(watched.study_dir).to_pylist()}
        everything = "".join(path.read_text() for path in (watched.study_dir / "logs").iterdir())
        assert os.environ["RAY_AUTH_TOKEN"] not in everything

    def test_a_logger_has_every_member(self, watched: Watched) -> None:
        written = [path.name.rpartition("-")[2] for path in (watched.study_dir / "loggers" / "tensorboard").iterdir()]
        assert set(written) == finished_run_ids(watched.study_dir)

    def test_the_status_is_that_of_a_finished_study(self, watched: Watched) -> None:
        seen = find_status(planned_study(watched.study_dir))
        assert (seen.state, seen.finished, seen.failures) == (FINISHED, 2, [])
        assert seen.sweep.endswith("done")


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    places = set()
    for panel in DASHBOARD["panels"]:
        assert panel["type"] in ("stat", "timeseries")
        assert panel["fieldConfig"]["defaults"]["unit"] in ("short", "cps", "s", "percentunit")
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert grid["x"] + grid["w"] <= 24
        assert not cells & places, f"{panel['title']} lies on another panel"
        places |= cells
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= set(variables)
            assert 'study=~"$study"' in target["expr"]
