"""Config -> members -> packs. Planning needs no cluster and is the same every time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from study.config import StudyConfig
from trainables.losses.methods import Method
from trainables.specs import Member, TeacherSpec, content_id


@dataclass(frozen=True)
class Pack:
    """Members that share a teacher and train side by side in one worker group."""

    members: tuple[Member, ...]

    @property
    def pack_id(self) -> str:
        """Follows from the members, so that a restarted pack finds its state again."""
        return content_id({"members": [member.run_id for member in self.members]})

    @property
    def teacher(self) -> TeacherSpec | None:
        return self.members[0].teacher

    @property
    def num_seeds(self) -> int:
        return len({member.seed for member in self.members})


def members(config: StudyConfig) -> list[Member]:
    """Every member of the grid, each once: teacher x method x seed, and method x seed where no teacher is needed."""
    planned = [
        make_member(config, teacher if method.needs_teacher else None, method, seed)
        for teacher in config.teachers
        for method in config.methods
        for seed in config.seeds
    ]
    return list({member.run_id: member for member in planned}.values())


def make_member(config: StudyConfig, teacher: TeacherSpec | None, method: Method, seed: int) -> Member:
    return Member(
        data=config.data,
        teacher=teacher,
        student=config.student,
        method=method,
        seed=seed,
        train=config.train,
        evaluation=config.evaluation,
    )


def packs(planned: Iterable[Member], max_members: int) -> list[Pack]:
    """Packs of at most max_members that share a teacher, as few as possible and about equally large.

    Members of one seed stay together where they fit, for they share their teacher passes. Largest teachers come first,
    so that the last packs to run are the short ones.
    """
    by_teacher = groupby(sorted(planned, key=_order), key=_teacher_id)
    result = [pack for _, group in by_teacher for pack in _split(list(group), max_members)]
    return sorted(result, key=lambda pack: -_weight(pack))


def _split(group: Sequence[Member], max_members: int) -> list[Pack]:
    num_packs = -(-len(group) // max_members)
    target = -(-len(group) // num_packs)
    chunks: list[list[Member]] = [[]]
    for _, same_seed in groupby(group, key=lambda member: member.seed):
        stream = list(same_seed)
        if chunks[-1] and (len(chunks[-1]) + len(stream) > max_members or len(chunks[-1]) >= target):
            chunks.append([])
        while stream:
            room = max_members - len(chunks[-1])
            chunks[-1] += stream[:room]
            stream = stream[room:]
            if stream:
                chunks.append([])
    return [Pack(tuple(chunk)) for chunk in chunks]


def _order(member: Member) -> tuple[str, int, str]:
    return _teacher_id(member), member.seed, member.run_id


def _teacher_id(member: Member) -> str:
    return member.teacher.teacher_id if member.teacher else ""


def _weight(pack: Pack) -> float:
    """A rough size of the work: members, and teacher width where there is one; only the order of packs hangs on it."""
    widths = pack.teacher.model.config.get("block_out_channels", [1]) if pack.teacher else [0]
    return len(pack.members) + pack.num_seeds * (sum(widths) / 100)
