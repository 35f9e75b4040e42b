"""Makes torchvision importable next to a CPU-only torch.

diffusers and torch-fidelity import torchvision. Its wheel is built against CUDA torch, so with a CPU build of torch its
C++ operators do not load and `import torchvision` dies with "operator torchvision::nms does not exist": it decorates
two operators that are not declared. Declaring their schemas is enough; nothing in this project calls them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_NAME = "torchvision"
_kept: list[Any] = []  # the library of declared operators, which end with it


def mend_torchvision() -> None:
    """From now on `import torchvision` declares the missing operators where it has to. Imports nothing itself."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds torchvision where Python's own finder does, and loads it by `_Loader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _NAME:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Python's own loader, and where the operators are missing once more with them declared."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        try:
            self._own.exec_module(module)
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            _declare_operators()
            for name in [name for name in sys.modules if name.startswith(f"{_NAME}.")]:
                del sys.modules[name]
            self._own.exec_module(module)


def _declare_operators() -> None:
    import torch

    library = torch.library.Library(_NAME, "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)  # type: ignore[no-untyped-call]
    _kept.append(library)
