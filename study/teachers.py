"""python -m study.teachers: trains the configured teachers once, and lists them."""

from __future__ import annotations

from study.config.command_line import compose, entry_point


def main(argv: list[str]) -> int:
    """Makes the teachers that are missing; prints each one's size, FID and folder."""
    from study.config.parse import study_config
    from study.directory.layout import folders
    from study.directory.lease import lease
    from study.directory.repair import is_damaged, set_aside_damaged
    from study.execution.cluster import connected
    from study.execution.teachers import make_teachers, missing_teachers
    from study.planning.members import plan_teachers
    from trainables.models.teachers import find_teacher

    config = study_config(compose("config", argv))
    with lease(config.study_dir):
        missing = missing_teachers(config)
        if missing or is_damaged(config.study_dir):
            with connected(config.cluster):
                set_aside_damaged(config.study_dir)  # not before every check has passed
                make_teachers(config, missing_teachers(config))
    where = folders(config.study_dir)
    for spec in plan_teachers(config):
        teacher = find_teacher(spec, config.evaluation, where)
        assert teacher is not None
        size = f"{teacher.size.params:,} parameters, {teacher.size.macs:,} MACs"
        seed = "" if spec.seed is None else f" (seed {spec.seed})"
        print(f"{spec.name}{seed}: {size}, FID {teacher.fid:.2f}, in {where.teachers / spec.teacher_id}")
    return 0


if __name__ == "__main__":
    entry_point(main)
