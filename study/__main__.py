"""kd-study COMMAND [...]: stability studies of knowledge distillation. `python -m study.COMMAND` is the same."""

from __future__ import annotations

import difflib
import sys
from importlib import import_module
from importlib.metadata import version

COMMANDS = {
    "init": "write a study of your own, to be edited",
    "sweep": "run what is missing of a study, and report",
    "teachers": "train and list only the teachers",
    "status": "what a study has done and what is left",
    "report": "the report again, from the records alone",
    "cancel": "stop the sweep that runs on a study",
    "verify": "compare the files of a study with their digests",
    "check": "whether a loss, data source, ... of your own holds what a study asks of it",
    "latents": "encode a data set once, for data=latents",
    "complete": "what a shell may put after what is typed",
    "bench": "measure what it costs on this machine",
}


def main() -> None:
    """Runs the sub-command that the command line names, as `python -m study.COMMAND` would."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(_overview())
        return
    if name == "--version":
        print(f"kd-study {version('kd-stability-study')}")
        return
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        print(f"error: command must be one of {', '.join(COMMANDS)} but got {name!r}{meant}", file=sys.stderr)
        sys.exit(2)
    from study.config.command_line import entry_point

    entry_point(import_module(f"study.{name}").main, rest)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, what in COMMANDS.items()]
    head = "usage: kd-study COMMAND [FILE.yaml] [key=value ...]; kd-study COMMAND --help says more"
    return "\n".join([head, "", *lines])


if __name__ == "__main__":
    main()
