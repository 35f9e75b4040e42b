"""Numbers and names as text, the same wherever they are shown."""

from __future__ import annotations

import math

from analysis.records.cells import NO_TEACHER, Cell


def number(value: float, digits: int = 2) -> str:
    """`value` with a fixed number of digits, or a dash where there is no number."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def signed(value: float, digits: int = 1, *, plus: bool = False) -> str:
    """`value` with a true minus sign; what rounds to zero has no sign, and what is no number is a dash."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        return text.lstrip("-")
    return ("+" if plus and value > 0 else "") + text.replace("-", "−")


def teacher_text(cell: Cell) -> str:
    """The teacher's name, with its size where the name does not already say it."""
    if cell.teacher is None:
        return NO_TEACHER
    size = count_text(cell.teacher_params or 0)
    return cell.teacher if size.lower() in cell.teacher.lower() else f"{cell.teacher} ({size})"


def count_text(count: float) -> str:
    """A number of parameters or MACs in three digits, e.g. 78.7M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:g}"


def percent(value: float) -> str:
    """A part of 1 in whole percent, without the sign of what rounds to 0."""
    return f"{signed(100 * value, 0)}%" if math.isfinite(value) else "–"
