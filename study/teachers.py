"""kd-study teachers [FILE.yaml] [key=value ...]: trains the configured teachers once, and lists them.

`python -m study.teachers` is the same, with the keys of kd-study sweep.

    kd-study teachers teachers=[unet_16,unet_64]
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from analysis.terminal import folded
from study.config.command_line import compose, entry_point
from study.config.early import check_early

if TYPE_CHECKING:
    from study.config.study import StudyConfig


def main(argv: list[str]) -> int:
    """Makes the teachers that are missing; prints each one's size, FID and folder.

    Exit code 0 done, 1 failed, 130 interrupted.
    """
    cfg = compose("config", argv)
    check_early(cfg)

    from study.config.parse import study_config

    config = study_config(cfg)

    from study.execution.ending import ended

    command = shlex.join(["python", "-m", "study.teachers", *argv])
    return ended(lambda: _make_and_list(config, command), command)


def _make_and_list(config: StudyConfig, command: str) -> int:
    from study.directory.layout import folders
    from study.directory.lease import lease
    from study.directory.repair import is_damaged, set_aside_damaged
    from study.execution.cluster import connected
    from study.execution.failure import TeacherLostError, describe_teacher_loss
    from study.execution.machine import require_machine
    from study.execution.teachers import make_teachers, missing_teachers
    from study.planning.members import plan_teachers
    from trainables.models.facts import find_teacher
    from trainables.models.pretrained import require_fetchable

    require_machine(config.cluster.address)
    with lease(config.study_dir):
        missing = missing_teachers(config)
        for spec in missing:
            require_fetchable(spec)
        if missing or is_damaged(config.study_dir):
            with connected(config.cluster, config.own_code):
                set_aside_damaged(config.study_dir)  # not before every check has passed
                try:
                    make_teachers(config, missing_teachers(config))
                except TeacherLostError as error:
                    raise RuntimeError(describe_teacher_loss(error, command)) from error
    where = folders(config.study_dir)
    for spec in plan_teachers(config):
        teacher = find_teacher(spec, config.evaluation, where)
        assert teacher is not None
        size = f"{teacher.size.params:,} parameters, {teacher.size.macs:,} MACs"
        seed = "" if spec.seed is None else f" (seed {spec.seed})"
        print(folded(f"{spec.name}{seed}: {size}, FID {teacher.fid:.2f}, in {where.teachers / spec.teacher_id}"))
    return 0


if __name__ == "__main__":
    entry_point(main)
