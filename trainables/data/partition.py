"""Which images of a folder belong to a split, from a file such as CelebA's list_eval_partition.txt."""

import re
from pathlib import Path

_LINE = re.compile(r"(?P<name>.*?)[\s,]+(?P<value>\d+)\Z")


def find_partition(name: str, root: Path) -> Path:
    """The file of that path; a relative one is looked for beside the folder of images, in it, and from here.

    Raises ValueError where it is in none of them.
    """
    places = [Path(name)] if Path(name).is_absolute() else [root.parent / name, root / name, Path(name)]
    for place in places:
        if place.is_file():
            return place
    raise ValueError(
        f"data.partition must be a file (null: all images) but there is no {' or '.join(map(str, places))}"
    )


def chosen_names(path: Path, split_value: int) -> set[str]:
    """The names of the lines with that number, or of all lines where none has a number.

    A first line without a number is a heading. Raises ValueError naming another one, and a number that no line has.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"data.partition: {path} cannot be read: {error}") from error
    found = [(number, line, _LINE.match(line)) for number, line in enumerate(lines, 1) if line]
    if not any(match for _, _, match in found):
        return {line for _, line, _ in found}
    for number, line, match in found[1:]:
        if match is None:
            raise ValueError(f"data.partition: line {number} of {path} must be a name and a number but is {line!r}")
    splits = [(match["name"], int(match["value"])) for _, _, match in found if match]
    chosen = {name for name, value in splits if value == split_value}
    if not chosen:
        there = ", ".join(map(str, sorted({value for _, value in splits})))
        raise ValueError(f"data.split_value must be among those of {path} ({there}) but got {split_value}")
    return chosen
