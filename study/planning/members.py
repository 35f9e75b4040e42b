"""Config -> members -> packs. Planning needs no cluster and is the same every time."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from study.config.study import StudyConfig
from trainables.data import data_shape
from trainables.losses.methods import Method
from trainables.models.sizes import count
from trainables.specs import Member, PrunedSpec, TeacherSpec, content_id


@dataclass(frozen=True)
class Pack:
    """Members that share a teacher and a seed and train side by side in one worker group."""

    pack_id: str  # follows from the members that were planned, so that a pack taken up again finds its state
    members: tuple[Member, ...]  # those that must run

    @property
    def teacher(self) -> TeacherSpec | None:
        """The model that its members learn from."""
        return self.members[0].guide


def plan_members(config: StudyConfig) -> list[Member]:
    """Every member of the grid, each once: teacher x method x seed, and method x seed where no teacher is needed."""
    planned = [
        make_member(config, teacher if method.needs_teacher else None, method, seed)
        for teacher in config.teachers
        for method in config.methods
        if _applies(config, method, teacher)
        for seed in config.seeds
    ]
    return list({member.run_id: member for member in planned}.values())


def plan_teachers(config: StudyConfig) -> list[TeacherSpec]:
    """Every teacher that the members need, each after those it is made from; first that of a cut student."""
    wanted = [config.student.teacher] if isinstance(config.student, PrunedSpec) else []
    for teacher in config.teachers:
        wanted.append(teacher)
        methods = [method for method in config.methods if _applies(config, method, teacher)]
        wanted += [found for method in methods if (found := _assistant(config, teacher, method))]
    return list({spec.teacher_id: spec for one in wanted for spec in with_ancestors(one)}.values())


def with_ancestors(spec: TeacherSpec) -> list[TeacherSpec]:
    """The teacher after all that it is made from: what it is cut or distilled from, and what these are."""
    return [*(ancestor for parent in spec.made_from for ancestor in with_ancestors(parent)), spec]


def _assistant(config: StudyConfig, teacher: TeacherSpec | None, method: Method) -> TeacherSpec | None:
    """The model between the teacher and the student: the named teacher's architecture, distilled by the method."""
    if method.assistant is None or teacher is None:
        return None
    own = replace(method, name=method.name.removesuffix(f"_via_{method.assistant}"), assistant=None)
    assistant = config.assistants[method.assistant]
    seed = assistant.seed if teacher.seed is None else teacher.seed
    return replace(assistant, larger=teacher, method=own, seed=seed)


def _applies(config: StudyConfig, method: Method, teacher: TeacherSpec) -> bool:
    """Whether there is room for the method's assistant: it must be smaller than the teacher."""
    if method.assistant is None:
        return True
    shape = data_shape(config.data)
    return count(config.assistants[method.assistant].model, shape).params < count(teacher.model, shape).params


def make_member(config: StudyConfig, teacher: TeacherSpec | None, method: Method, seed: int) -> Member:
    return Member(
        data=config.data,
        teacher=teacher,
        student=config.student,
        method=method,
        seed=seed,
        train=config.train,
        evaluation=config.evaluation,
        process=config.process,
        assistant=_assistant(config, teacher, method),
    )


def plan_packs(planned: Iterable[Member], max_members: int | None) -> list[Pack]:
    """Packs that share a teacher and a seed, so that one teacher pass a step serves all members of a pack.

    As few as possible with at most max_members each (None: any number) and about equally large; the largest teachers
    come first.
    """
    shared = groupby(sorted(planned, key=_order), key=lambda member: (_teacher_id(member), member.seed))
    packs = [pack for _, group in shared for pack in _split(list(group), max_members)]
    return sorted(packs, key=_weight, reverse=True)


def unfinished(packs: Iterable[Pack], finished: Container[str]) -> list[Pack]:
    """The packs under their own ids, with only the members whose run_id is not in `finished`; none that is empty."""
    left = [
        replace(pack, members=tuple(member for member in pack.members if member.run_id not in finished))
        for pack in packs
    ]
    return [pack for pack in left if pack.members]


def _split(group: Sequence[Member], max_members: int | None) -> list[Pack]:
    num_packs = -(-len(group) // (max_members or len(group)))
    size = -(-len(group) // num_packs)
    return [_pack(group[start : start + size]) for start in range(0, len(group), size)]


def _pack(members: Sequence[Member]) -> Pack:
    return Pack(content_id({"members": [member.run_id for member in members]}), tuple(members))


def _order(member: Member) -> tuple[str, int, str]:
    return _teacher_id(member), member.seed, member.run_id


def _teacher_id(member: Member) -> str:
    return member.guide.teacher_id if member.guide else ""


def _weight(pack: Pack) -> tuple[int, int]:
    """Only the order of packs depends on it: the teacher's parameters, then the number of members."""
    size = count(pack.teacher.model, data_shape(pack.teacher.data)).params if pack.teacher else 0
    return size, len(pack.members)
