"""Code of a user's own: `module:name` in a config, or an entry point of an installed package.

The module must lie in the folder where the command is run, be on PYTHONPATH, or be installed. A path is followed where
a user names it, on the command line or in a config; what a study has written is never a reason to import anything
(`not_from`). The digest of the source goes into the identity of what is made with it: a changed loss is another
experiment.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import re
import sys
import sysconfig
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z", re.ASCII)
_REFUSED: ContextVar[str | None] = ContextVar("what names code without being asked", default=None)


def is_path(value: object) -> bool:
    """Whether the value has the form module:name."""
    return isinstance(value, str) and bool(_PATH.match(value))


def path_of(key: str, kind: str, value: Any, built_in: Collection[str]) -> str:
    """What the value stands for: a name that is built in, or the module:name of a path or an entry point.

    kind: the entry points' group is kd_study.<kind>. Raises ValueError naming the key and what is allowed.
    """
    others = installed(kind)
    if isinstance(value, str) and (value in built_in or is_path(value)):
        return value
    if isinstance(value, str) and value in others:
        return others[value]
    names = [*built_in, *others]
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.7)
    hint = f"did you mean {near[0]}?" if near else "code of your own is module:name"
    raise ValueError(f"{key} must be one of {', '.join(names)} but got {value!r}; {hint}")


@cache
def installed(kind: str) -> dict[str, str]:
    """module:name by the names of the entry points of a group."""
    return {point.name: point.value for point in entry_points(group=f"kd_study.{kind}") if is_path(point.value)}


@contextmanager
def not_from(source: str) -> Iterator[None]:
    """Within it `load` refuses: what names the code is `source`, and not the user."""
    token = _REFUSED.set(source)
    try:
        yield
    finally:
        _REFUSED.reset(token)


def load(key: str, path: str) -> Any:
    """What module:name is. Raises ValueError naming the key where it is not there or its import fails."""
    if (source := _REFUSED.get()) is not None:
        raise ValueError(f"{source} names {key}={path}, which is code: it is imported with plugins=true alone")
    module, _, name = path.partition(":")
    try:
        code_digest(path)  # of what is imported now, and not of what the file is later
        found = import_module(module)
    except Exception as error:  # a user's module fails in whatever way
        raise ValueError(
            f"{key}={path}: {module} cannot be imported ({type(error).__name__}: {error}); it must lie in"
            f" {Path.cwd()}, be on PYTHONPATH, or be installed"
        ) from error
    if not hasattr(found, name):
        raise ValueError(f"{key}={path}: {found.__file__} has no {name!r}")
    return getattr(found, name)


def _look_in_working_directory() -> None:
    """Last, so that nothing there hides what is installed."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)


@cache
def code_digest(path: str) -> str:
    """12 hexadecimal digits that follow from the source of a module:name: of its package, or of its file and of those
    beside it that it imports. Nothing is imported for it.

    Raises ValueError where there is no such module.
    """
    digest = hashlib.sha256()
    for file, label in source_files(path):
        digest.update(label.encode() + b"\0" + file.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:12]


def require_same(key: str, path: str, digest: str | None) -> None:
    """Raises ValueError where the code is not here what it was where the study was planned."""
    if digest is not None and code_digest(path) != digest:
        raise ValueError(
            f"{key}={path}: its source is another one here than where the study was planned; was it changed since?"
            " The same command again plans anew"
        )


def source_files(path: str) -> list[tuple[Path, str]]:
    """The files of a module:name, each with a label that does not depend on where they lie."""
    top = path.partition(":")[0].partition(".")[0]
    _look_in_working_directory()
    spec = find_spec(top)
    if spec is None or not (spec.origin or spec.submodule_search_locations):
        raise ValueError(f"{path}: there is no module {top} in {Path.cwd()}, on PYTHONPATH or among what is installed")
    if spec.submodule_search_locations:
        return _of_folder(Path(next(iter(spec.submodule_search_locations))))
    if spec.origin is None or not Path(spec.origin).is_file():
        raise ValueError(f"{path}: {top} has no source file")
    return _with_neighbours(Path(spec.origin))


def to_ship(path: str) -> list[Path]:
    """The modules and packages of a module:name that another machine lacks; none of what is installed."""
    files = source_files(path)
    if _is_installed(files[0][0]):
        return []
    return sorted({file.parents[label.count("/") - 1] if "/" in label else file for file, label in files})


def _of_folder(folder: Path) -> list[tuple[Path, str]]:
    files = sorted(file for file in folder.rglob("*.py"))
    return [(file, f"{folder.name}/{file.relative_to(folder).as_posix()}") for file in files]


def _with_neighbours(first: Path) -> list[tuple[Path, str]]:
    """A module's file, and the modules and packages beside it that it imports, and those that these do."""
    found, open_files = {first.name: first}, [first]
    while open_files and not _is_installed(first):
        for name in _imported(open_files.pop()):
            file, folder = first.parent / f"{name}.py", first.parent / name
            new = _of_folder(folder) if (folder / "__init__.py").is_file() else [(file, file.name)] * file.is_file()
            added = {label: one for one, label in new if label not in found}
            found |= added
            open_files += added.values()
    return sorted(((file, label) for label, file in found.items()), key=lambda one: (one[0] != first, one[1]))


def _imported(file: Path) -> set[str]:
    """The first parts of the names that a file imports; none of one that is no Python."""
    if file.suffix != ".py":
        return set()
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except SyntaxError:  # its import says so
        return set()
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    plain |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in plain}


def _is_installed(file: Path) -> bool:
    paths = sysconfig.get_paths()
    return any(file.is_relative_to(paths[name]) for name in ("purelib", "platlib", "stdlib", "platstdlib"))
