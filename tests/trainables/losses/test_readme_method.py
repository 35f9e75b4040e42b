"""The method that trainables/README.md adds works as it stands there."""

import re
from pathlib import Path

import pytest
import torch

from trainables.losses import methods, objective
from trainables.losses.methods import Method, make_method

README = Path(__file__).parents[3] / "trainables" / "README.md"


def test_the_method_of_the_readme_learns_from_its_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(# trainables/losses/objective\.py\n.*?)```", README.read_text(), re.DOTALL)
    assert len(block.strip().splitlines()) <= 11
    monkeypatch.setattr(objective, "OUTPUT_LOSSES", dict(objective.OUTPUT_LOSSES))
    monkeypatch.setattr(methods, "METHODS", dict(methods.METHODS))
    names = {"torch": torch, "OUTPUT_LOSSES": objective.OUTPUT_LOSSES, "METHODS": methods.METHODS, "Method": Method}
    exec(block, names)
    recipe = {"lambda_diff": 0.0, "lambda_out": 2.0, "reduction": "sum", "group_size": 16}
    method = make_method("cosine_kd", recipe, num_elements=64)
    student = torch.randn(3, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    terms = objective.objective(method, student, teacher, teacher_output=teacher)
    cosines = [torch.dot(s.flatten(), t.flatten()) / s.norm() / t.norm() for s, t in zip(student, teacher, strict=True)]
    assert terms.loss.item() == pytest.approx(2.0 * (1 - torch.stack(cosines).mean().item()))
    terms.loss.backward()
    assert student.grad is not None
    stepped = objective.objective(method, student.detach() - 0.1 * student.grad, None, teacher_output=teacher)
    assert stepped.loss < terms.loss
