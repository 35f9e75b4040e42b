"""The method of trainables/README.md is a plug-in that does something: it holds the contracts and teaches."""

import re
from pathlib import Path

import pytest
import torch
from own_code import own_modules

from trainables.contracts import check
from trainables.losses.methods import define_method, make_method
from trainables.losses.objective import objective

README = Path(__file__).parents[3] / "trainables" / "README.md"


def test_the_method_of_the_readme_learns_from_its_teacher(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n# my_losses\.py\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(block.strip().splitlines()) <= 10
    with own_modules(tmp_path, readme=block):
        own = {"mine": define_method("mine", "readme_of_mine:cosine", None)}
        recipe = {"lambda_diff": 0.0, "lambda_out": 2.0, "reduction": "sum"}
        method = make_method("mine", recipe, num_elements=64, own=own)
        student = torch.randn(3, 1, 8, 8, dtype=torch.float64, requires_grad=True)
        teacher = torch.randn(3, 1, 8, 8, dtype=torch.float64)
        terms = objective(method, student, teacher, teacher_output=teacher)
        pairs = zip(student.flatten(1), teacher.flatten(1), strict=True)
        cosines = torch.stack([torch.dot(s, t) / s.norm() / t.norm() for s, t in pairs])
        assert terms.loss.item() == pytest.approx(2.0 * 64 * (1 - cosines.mean().item()))
        terms.loss.backward()
        assert student.grad is not None
        stepped = objective(method, student.detach() - 0.1 * student.grad, None, teacher_output=teacher)
        assert stepped.loss < terms.loss
        assert all(finding.holds for finding in check("readme_of_mine:cosine", {})[1])
