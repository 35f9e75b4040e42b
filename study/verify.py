"""kd-study verify study_dir=... : what of a study is missing, changed or foreign, by the digests of its files.

`python -m study.verify` is the same. Reads everything and changes nothing; a sweep looks at names alone. What is not
made yet is not missing.

    kd-study verify study_dir=studies/digits
"""

from __future__ import annotations

import sys

from analysis.terminal import folded
from storage import location
from study.config.command_line import compose, entry_point, require_study


def main(argv: list[str]) -> int:
    """Prints a line for each file or folder that is not as it was written; exit code 1 where there is one."""
    cfg = compose("verify", argv)
    if cfg.study_dir is None:
        raise ValueError("study_dir must be given: study_dir=<a study's directory>")
    study_dir = location("study_dir", str(cfg.study_dir))
    require_study(study_dir)

    from analysis.records.rows import finished_run_ids
    from study.directory.verify import verify

    findings = verify(study_dir)
    for finding in findings:
        print(folded(f"{finding.kind}: {finding.text}"))
    if findings:
        print(f"{len(findings)} of the files and folders of {study_dir} are not as they were written", file=sys.stderr)
        return 1
    num = len(finished_run_ids(study_dir))
    print(folded(f"{study_dir}: {num} finished members, all files are as they were written"))
    return 0


if __name__ == "__main__":
    entry_point(main)
