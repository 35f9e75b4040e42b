"""The console script `kd-study`: where another program's `study` is in the way, one line says which it is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    """Runs study.__main__, if the package `study` that Python finds is the one beside this file."""
    ours = Path(__file__).resolve().parent / "study"
    spec = importlib.util.find_spec("study")  # imports nothing
    if spec is None or spec.origin is None or Path(spec.origin).resolve().parent != ours:
        found = spec and (spec.origin or next(iter(spec.submodule_search_locations or ()), None))
        where = f"{found} is found first" if found else "it is not found"
        way = "rename that, take its folder off PYTHONPATH, or run from another folder"
        print(f"error: the package study of kd-study is {ours}, but {where}: {way}", file=sys.stderr)
        sys.exit(2)
    from study.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
