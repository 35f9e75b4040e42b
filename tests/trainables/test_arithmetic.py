"""What matrix products are computed in follows the setting, inside and nowhere else."""

import pytest
import torch
from tiny import train_spec

from trainables.arithmetic import matrix_products, narrowed, require_gpu_for


def settings() -> tuple[str, str]:
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision


def test_convolutions_are_no_tf32_where_a_row_says_float32() -> None:
    before = settings()
    assert before[1] == "tf32"  # torch's own default
    with matrix_products("float32"):
        assert settings() == ("ieee", "ieee")
        with matrix_products("tf32"):
            assert settings() == ("tf32", "tf32")
        assert settings() == ("ieee", "ieee")
    assert settings() == before


def test_only_bf16_narrows_operands() -> None:
    x = torch.ones(2, 2)
    for matmul, dtype in (("float32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        with narrowed(matmul, torch.device("cpu")):
            assert (x @ x).dtype == dtype
    assert (x @ x).dtype == torch.float32


def test_what_cannot_be_is_refused_by_its_key() -> None:
    with pytest.raises(ValueError, match=r"teacher_train.matmul must be float32 or bf16 where workers have no GPU"):
        require_gpu_for("tf32", "cpu", "teacher_train")
    with pytest.raises(ValueError, match=r"train.matmul must be float32 with train.precision=float64 but got 'bf16'"):
        train_spec(matmul="bf16", precision="float64")
    with pytest.raises(ValueError, match=r"train.matmul must be one of float32, tf32, bf16 but got 'half'"):
        train_spec(matmul="half")
