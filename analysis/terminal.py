"""Text that fits a terminal of 80 columns: tables whose long cells go on in the next line, and folded lines."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Collection, Sequence

WIDTH = 80
_GAP = "  "


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """The lines of a table; the columns `right` are flush right and stay whole, of the others the widest gives way,
    between words as long as that is enough.
    """
    by_column = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in by_column]
    whole_words = [max((len(word) for text in column for word in text.split()), default=1) for column in by_column]
    for least in (whole_words, [1] * len(widths)):
        narrower = [index for index in range(len(widths)) if index not in right and widths[index] > least[index]]
        while narrower and sum(widths) + len(_GAP) * (len(widths) - 1) > WIDTH:
            widest = max(narrower, key=lambda index: widths[index])
            widths[widest] -= 1
            narrower = [index for index in narrower if widths[index] > least[index]]
    return [line for row in rows for line in _lines(row, widths, right)]


def _lines(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> list[str]:
    cells = [textwrap.wrap(text, width) or [""] for text, width in zip(row, widths, strict=True)]
    height = max(map(len, cells))
    lines = []
    for number in range(height):
        texts = [cell[number] if number < len(cell) else "" for cell in cells]
        aligned = (
            text.rjust(width) if index in right else text.ljust(width)
            for index, (text, width) in enumerate(zip(texts, widths, strict=True))
        )
        lines.append(_GAP.join(aligned).rstrip())
    return lines


def folded(text: str) -> str:
    """The text for stdout: on a terminal long lines are folded between words, elsewhere a line stays whole."""
    if not sys.stdout.isatty():
        return text
    return "\n".join(_fold(line) for line in text.splitlines())


def _fold(line: str) -> str:
    if len(line) <= WIDTH:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(
        line,
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
