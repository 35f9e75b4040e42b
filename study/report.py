"""kd-study report study_dir=... [key=value ...]: the stability report again, from the records alone.

`python -m study.report` is the same.

    kd-study report study_dir=studies/digits
    kd-study report study_dir=studies/digits report.baseline=out_kd 'where={seed:[0,1]}'
    kd-study report study_dir=studies/a compare=[studies/b]    studies side by side
    kd-study report example=digits_reference                   a study that is shipped, into report/digits_reference
    kd-study report published=table6 report_dir=report/table6  the paper's own tries
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from analysis.records.examples import example_study
from analysis.results.settings import ReportSettings
from analysis.terminal import folded
from storage import location
from study.config.command_line import compose, entry_point, one_line


def main(argv: list[str]) -> int:
    """Writes the report that the Hydra overrides in argv ask for and prints its table and its path."""
    config: Any = OmegaConf.to_container(compose("report", argv), resolve=True)
    study_dirs, report_dir = _places(config)
    sweep, stored = _stored(study_dirs[0]) if study_dirs else (None, {})
    settings, where = _settings(config["report"], stored), _where(config["where"])

    from analysis.records.rows import compact_runs
    from analysis.report.write import write_report

    if config["compact"]:
        for study_dir in study_dirs:
            compact_runs(study_dir)
    report = write_report(
        study_dirs,
        report_dir,
        published=config["published"],
        seed=config["seed"],
        settings=settings,
        where=where,
        command=shlex.join(["python", "-m", "study.report", *argv]),
        sweep=sweep,
    )
    print(folded(report.text))
    print(f"report: {report.index}")
    return 0


def _places(config: Mapping[str, Any]) -> tuple[list[Path], Path]:
    """The study directories to read, and the folder to write."""
    study_dir, example, report_dir = (config[key] for key in ("study_dir", "example", "report_dir"))
    if study_dir is not None and example is not None:
        raise ValueError(f"study_dir must be null with example={example}; compare=<a study's directory> adds it")
    if study_dir is None and example is None and config["published"] is None:
        raise ValueError(
            "study_dir, example or published must be given: study_dir=<a study's directory>, example=digits_reference"
            " or published=table6"
        )
    shipped = [example_study(str(example))] if example is not None else []
    own = [path for path in (study_dir, *_compare(config["compare"])) if path is not None]
    study_dirs = [*shipped, *(location("study_dir", str(path)) for path in own)]
    for path in study_dirs:
        if not path.is_dir():
            raise ValueError(f"study_dir must hold finished members but {path} has none")
    if report_dir is None and study_dir is None and example is None:
        raise ValueError("report_dir must be given where there is no study_dir to put the report into")
    default = f"report/{example}" if example is not None else f"{study_dir}/report"
    return study_dirs, location("report_dir", str(report_dir or default))


def _compare(value: Any) -> list[Any]:
    """A list of directories, or one alone."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise ValueError(f"compare must be a study's directory or a list of them but got {value!r}")
    return value


def _where(value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"where must be null or keys with values, where={{key:value}}, but got {value!r}")
    return value or {}


def _settings(asked: Any, stored: Mapping[str, Any]) -> ReportSettings:
    """What was asked for on the command line, else what the study declared."""
    if not isinstance(asked, dict):
        raise ValueError(f"report must be a mapping of keys to values but got {asked!r}")
    given = {key: value for key, value in asked.items() if value is not None}
    try:
        return ReportSettings(**{**stored, **given})
    except TypeError as error:
        raise ValueError(f"report has a key that it does not know: {', '.join({*stored} - {*asked})}") from error


def _stored(study_dir: Path) -> tuple[str | None, dict[str, Any]]:
    """The command that ran the sweep, and what it declared for the report; both are in study.yaml."""
    path = study_dir / "study.yaml"
    if not path.is_file():
        return None, {}
    try:
        text = path.read_text()
        content = yaml.safe_load(text)
        declared = content.get("report") or {}
        first = text.partition("\n")[0]
        return (first[2:] if first.startswith("# python -m study.sweep") else None), dict(declared)
    except (OSError, AttributeError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {one_line(error)}") from error


if __name__ == "__main__":
    entry_point(main)
