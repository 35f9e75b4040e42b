"""kd-study sweep [FILE.yaml] [key=value ...]: plans a study, runs the members that have no row yet, and reports.

`python -m study.sweep` is the same. The same command again runs only what is missing.

    kd-study sweep                                         the embedded study: 6 minutes on two cores
    kd-study sweep dry_run=true                            what it would take; starts nothing
    kd-study sweep my_study.yaml train.steps=1000          a file that kd-study init wrote; what is typed wins over it
    kd-study sweep teachers=[unet_16,unet_64] seeds=0-9 study=longer
    kd-study sweep methods=[out_kd,lift_place] data=folder data.name=mine data.path=/images data.size=32
    kd-study sweep protocol=tuned study=tuned              tunes every method equally, then confirms on fresh seeds
    kd-study sweep +experiment=celeba_table6 scale=tiny    an experiment of the paper, as a miniature
"""

from __future__ import annotations

import shlex

from study.config.command_line import compose, entry_point
from study.config.early import check_early
from study.execution.machine import require_machine


def main(argv: list[str]) -> int:
    """Runs the study that the Hydra overrides in argv describe.

    Exit code 0 done, 1 failed, 3 its budget is spent, 130 interrupted.
    """
    cfg = compose("config", argv)
    check_early(cfg)
    if not cfg.dry_run:
        require_machine(cfg.cluster.address)

    from study.execution.ending import ended
    from study.run import run_study

    command = shlex.join(["python", "-m", "study.sweep", *argv])
    return ended(lambda: run_study(cfg, command), command)


if __name__ == "__main__":
    entry_point(main)
