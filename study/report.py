"""python -m study.report study_dir=... : the stability report again, from the records alone."""

from __future__ import annotations

import shlex

from analysis.records.rows import compact_runs
from analysis.report.write import write_report
from storage import location
from study.config.command_line import compose, entry_point


def main(argv: list[str]) -> int:
    """Writes the report that the Hydra overrides in argv ask for and prints its table and its path."""
    config = compose("report", argv)
    if config.study_dir is None and config.published is None:
        raise ValueError("study_dir or published must be given: study_dir=<a study's directory> or published=table6")
    if config.report_dir is None and config.study_dir is None:
        raise ValueError("report_dir must be given where there is no study_dir to put the report into")
    study_dirs = [location("study_dir", str(path)) for path in (config.study_dir, *config.compare) if path is not None]
    report_dir = location("report_dir", str(config.report_dir)) if config.report_dir else study_dirs[0] / "report"
    if config.compact:
        for study_dir in study_dirs:
            compact_runs(study_dir)
    command = shlex.join(["python", "-m", "study.report", *argv])
    report = write_report(study_dirs, report_dir, published=config.published, seed=config.seed, command=command)
    print(report.text)
    print(f"report: {report.index}")
    return 0


if __name__ == "__main__":
    entry_point(main)
