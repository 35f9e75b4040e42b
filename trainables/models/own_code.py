"""Before a user's code runs in a worker: it must be what it was where the study was planned.

Data sources say so themselves when they are loaded (trainables/data/own_data.py).
"""

from collections.abc import Mapping, Sequence

from trainables import plugins
from trainables.families import find_family
from trainables.protocol import EvaluationSpec
from trainables.specs import Member, PrunedSpec, StudentSpec, TeacherSpec


def require_members_code(members: Sequence[Member]) -> None:
    """Losses, samplers, feature extractors and models of the members; families are known from then on.

    Raises ValueError naming the key and the code that is another one here.
    """
    for member in members:
        _require("method", member.method.code)
        require_evaluation_code(member.evaluation)
        require_model_code(member.student)
        for teacher in filter(None, (member.teacher, member.assistant)):
            require_teacher_code(teacher)


def require_evaluation_code(evaluation: EvaluationSpec) -> None:
    _require("evaluation", evaluation.code)


def require_teacher_code(spec: TeacherSpec) -> None:
    """Of the teacher and of all that it is made from."""
    require_model_code(spec.model)
    _require("method", spec.method.code if spec.method else {})
    if spec.larger is not None:
        require_teacher_code(spec.larger)


def require_model_code(spec: StudentSpec) -> None:
    if isinstance(spec, PrunedSpec):
        require_teacher_code(spec.teacher)
    elif spec.code is not None:
        _require("model_class", {spec.model_class: spec.code})
        find_family("model_class", spec.model_class)


def _require(key: str, code: Mapping[str, str]) -> None:
    for path, digest in code.items():
        plugins.require_same(key, path, digest)
