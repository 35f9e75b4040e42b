"""Stability studies of knowledge distillation: the command line and the orchestration on Ray."""

import signal
import sys
from importlib.util import find_spec
from pathlib import Path


def foreign() -> str | None:
    """What is said of the first of the other packages that Python finds elsewhere than beside this one; else None."""
    home = Path(__file__).resolve().parents[1]
    for name in ("trainables", "search_spaces", "analysis", "storage"):
        spec = find_spec(name)
        places = [*(spec.submodule_search_locations or ()), spec.origin] if spec else []
        found = next((Path(place).resolve() for place in places if place), None)
        if found is None or home not in found.parents:
            where = f"{found} is found first" if found else "it is not found"
            way = "rename that, take its folder off PYTHONPATH, or run from another folder"
            return f"the package {name} of kd-study is {home / name}, but {where}: {way}"
    return None


def _interrupted(*_: object) -> None:
    print("interrupted", file=sys.stderr)
    sys.exit(130)


_is_command = sys.argv[:1] in (["-m"], []) or Path(sys.argv[0]).stem in ("kd-study", "kd_study")
if _is_command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _interrupted)  # Ctrl-C while it imports: entry_point takes over when that is done
if line := foreign():
    if _is_command:
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    raise ImportError(line)
