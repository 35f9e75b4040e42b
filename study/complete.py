"""kd-study complete: what a shell may put after what is typed: commands, keys, options, files. For bash and zsh:

    complete -o nospace -C 'kd-study complete' kd-study

It goes into ~/.bashrc; in zsh after `autoload -U bashcompinit && bashcompinit`. The shell gives the line in COMP_LINE.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from study.config.command_line import entry_point
from study.config.options import groups, option_config, option_names
from study.config.overrides import FILE_ENDINGS

_CONFIGS = {"teachers": "config", "sweep": "config"}  # of a command; by default of its own name, if it has one
_LISTS = {"teachers": "teacher", "teachers_first": "teacher"}  # lists of names of options


def main(argv: list[str]) -> int:
    """Prints the words that the last word of COMP_LINE can become, one a line; argv, the shell's, is not read."""
    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT") or 10**6)]
    if not line:
        raise ValueError(
            "COMP_LINE must hold the line that is typed: complete -o nospace -C 'kd-study complete' kd-study"
        )
    for word in words(line):
        print(word)
    return 0


def words(line: str) -> list[str]:
    """What the last word of a line can become; the shell replaces what follows its last `=`."""
    *before, last = line.split(" ")
    typed = [word for word in before if word][1:]
    if not typed:
        from study.__main__ import COMMANDS

        return sorted(f"{name} " for name in COMMANDS if name.startswith(last))
    key, equals, value = last.rpartition("=")
    found = _values(typed[0], key) if equals else _keys(typed[0])
    return sorted(word for word in found if word.startswith(value))


def _keys(command: str) -> Iterator[str]:
    name = _CONFIGS.get(command, command)
    if name == "config":
        yield from ("+experiment=", *(f"{group}=" for group in groups() if group not in ("experiment", "teacher")))
        yield from (f"{path} " for path in map(str, Path().glob("*")) if path.endswith(FILE_ENDINGS))
        for group in ("train", "evaluation", "cluster", "data", "method", "student"):
            yield from (f"{group}.{key}=" for key in _leaves(_default(group)))
    try:
        content = option_config(".", name)
    except FileNotFoundError:
        return
    yield from (f"{key}=" for key in _leaves({key: value for key, value in content.items() if key != "defaults"}))


def _values(command: str, key: str) -> Iterable[str]:
    name = key.lstrip("+")
    if command in _CONFIGS and name == "scale":
        return ("paper ", "tiny ")
    if command in _CONFIGS and name in groups():
        return [f"{option} " for option in option_names(name)]
    if command in _CONFIGS and name in _LISTS:
        return [f"[{option}]" for option in option_names(_LISTS[name])]
    if name in ("dry_run", "compact", "plugins"):
        return ("true ", "false ")
    if name == "study_dir":
        return [f"{path.parent} " for path in sorted(Path().glob("studies/*/study.yaml"))]
    return ()


def _default(group: str) -> dict[str, Any]:
    """The option of a group that the default study has."""
    chosen = next(entry[group] for entry in option_config(".", "config")["defaults"] if group in entry)
    return option_config(group, chosen)


def _leaves(content: Any, before: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}"


if __name__ == "__main__":
    entry_point(main)
