"""An independent, plain reading of DIST (Huang et al. 2022, arXiv 2205.10536)."""

import torch


def plain_dist(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """One minus the mean correlation of rows plus one minus that of columns, of the outputs (B, C, H, W) as (B, D)."""
    s, t = student.flatten(1), teacher.flatten(1)
    rows = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(s, t, strict=True)]
    columns = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(s.T, t.T, strict=True)]
    return 2 - torch.stack(rows).mean() - torch.stack(columns).mean()
