"""kd-study cancel study_dir=... : stops the sweep that runs on a study, wherever it runs, as Ctrl-C would there.

`python -m study.cancel` is the same. Finished members are kept; the rest goes on from its checkpoints when the sweep's
command is run again.

    kd-study cancel study_dir=studies/digits
"""

from __future__ import annotations

import sys
import time

from storage import location
from study.config.command_line import compose, entry_point, require_study

_PATIENCE_SECONDS = 60.0


def main(argv: list[str]) -> int:
    """Exit code 0 when no sweep runs on the study any more, 1 when it does not stop within a minute."""
    cfg = compose("cancel", argv)
    if cfg.study_dir is None:
        raise ValueError("study_dir must be given: study_dir=<a study's directory>")
    study_dir = location("study_dir", str(cfg.study_dir))
    require_study(study_dir)

    from study.directory.lease import ask_to_stop, is_held

    if not is_held(study_dir):
        print(f"no sweep runs on {study_dir}")
        return 0
    ask_to_stop(study_dir)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if not is_held(study_dir):
            print(f"the sweep on {study_dir} has stopped; run its command again to go on")
            return 0
        time.sleep(0.5)
    print(f"the sweep on {study_dir} was asked to stop and has not yet; it may be on a lost machine", file=sys.stderr)
    return 1


if __name__ == "__main__":
    entry_point(main)
