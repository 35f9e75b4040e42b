"""placeholder until the methods are there"""

from typing import Any


def prune(teacher: Any, settings: Any, *, data: Any, process: Any) -> Any:
    raise NotImplementedError


def check_settings(settings: Any, key: str = "student.pruning") -> None: ...
