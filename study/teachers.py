"""python -m study.teachers: trains the configured teachers once, and lists them."""

from __future__ import annotations

from study.command import compose, entry_point


def main(argv: list[str]) -> int:
    """Makes the teachers that are missing; prints each one's size, FID and folder."""
    from study.cluster import connected
    from study.damage import set_aside_damaged
    from study.layout import folders
    from study.lease import lease
    from study.parse import study_config
    from study.plan import teachers
    from study.teacher_tasks import make_teachers, missing_teachers
    from trainables.teachers import find_teacher

    config = study_config(compose("config", argv))
    with lease(config.study_dir):
        set_aside_damaged(config.study_dir)
        if missing_teachers(config):
            with connected(config.cluster):
                make_teachers(config)
    where = folders(config.study_dir)
    for spec in teachers(config):
        teacher = find_teacher(spec, config.evaluation, where)
        assert teacher is not None
        size = f"{teacher.size.params:,} parameters, {teacher.size.macs:,} MACs"
        print(f"{spec.name}: {size}, FID {teacher.fid:.2f}, in {where.teachers / spec.teacher_id}")
    return 0


if __name__ == "__main__":
    entry_point(main)
