"""What every entry point shares: Hydra overrides in, one clear line and exit code 2 for what the user got wrong."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from study.directory.claim import MARKER, is_claimed

_ENDING = "Exit codes: 0 done, 1 failed, 2 a bad value (nothing was started), 3 the budget is spent, 130 interrupted."


def compose(config_name: str, argv: Sequence[str]) -> DictConfig:
    """The config `study/conf/<config_name>.yaml` under the Hydra overrides in argv.

    Raises ValueError with one line that names the key or group, the value and what is allowed.
    """
    argv = expanded(argv)
    flags = [argument for argument in argv if argument.startswith("-")]
    if flags:
        raise ValueError(f"{flags[0]} is not an option; every value is an override of the form key=value")
    OmegaConf.register_new_resolver("oc.env", _refuse_environment, replace=True)
    for argument in argv:
        _check_override(argument)
    try:
        with initialize_config_module("study.conf", version_base="1.3"):
            return hydra_compose(config_name, overrides=list(argv))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error) + _allowed_instead(config_name, error)) from error


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain mappings and lists, with every value there. Raises ValueError naming a key that lacks one."""
    try:
        raw: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"{error.full_key or 'the config'}: {one_line(error)}") from error
    assert isinstance(raw, dict)
    return raw


def expanded(argv: Sequence[str]) -> list[str]:
    """The overrides with +experiment=NAME (and scale=paper or tiny) replaced by those that the experiment stands for.

    What else is in argv wins over them. Raises ValueError for what is no experiment or scale.
    """
    chosen = dict(argument.split("=", 1) for argument in argv if argument.startswith(("+experiment=", "scale=")))
    rest = [argument for argument in argv if not argument.startswith(("+experiment=", "scale="))]
    if not chosen:
        return rest
    if "+experiment" not in chosen:
        raise ValueError("scale is for experiments: give +experiment=NAME too")
    name, scale = chosen["+experiment"], chosen.get("scale", "paper")
    for key, value, allowed in (("+experiment", name, option_names("experiment")), ("scale", scale, ["paper", "tiny"])):
        if value not in allowed:
            raise ValueError(f"{key} must be one of {', '.join(allowed)} but got {value!r}")
    experiment = option_config("experiment", name)
    given = {_key(argument) for argument in rest}
    own = [*experiment["shared"], *experiment[scale]]
    last = {_key(argument): argument for argument in own}  # a scale's own over the shared
    return [argument for key, argument in last.items() if key not in given] + rest


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _check_override(argument: str) -> None:
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException as error:
        raise ValueError(f"{argument!r} is not an override of the form key=value: {one_line(error)}") from error
    if not override.key_or_group:
        raise ValueError(f"{argument!r} names no key; every value is an override of the form key=value")
    if override.key_or_group.partition(".")[0].partition("/")[0] == "hydra":
        raise ValueError(f"{override.key_or_group} is not a key of the study: Hydra itself is not configured here")
    group = override.key_or_group.partition("@")[0]
    if "." not in group and _group(group).is_dir() and not isinstance(override.value(), str):
        raise ValueError(f"{group} must be one of {', '.join(option_names(group))} but got {override.value()!r}")


def _refuse_environment(variable: str, *_default: object) -> None:
    """Secrets of the environment would be written into study.yaml and the logs."""
    raise ValueError(f"${{oc.env:{variable}}} is not allowed: a value may not come from an environment variable")


def option_names(group: str) -> list[str]:
    """The names of the options of a config group: its YAML files."""
    return sorted(path.name.removesuffix(".yaml") for path in _group(group).iterdir() if path.name.endswith(".yaml"))


def option_config(group: str, name: str) -> dict[str, Any]:
    """The content of one option of a config group."""
    read = OmegaConf.create((_group(group) / f"{name}.yaml").read_text())  # as Hydra reads it: 1e-6 is a number
    content: Any = OmegaConf.to_container(read, resolve=False)
    assert isinstance(content, dict)
    return content


def _group(group: str) -> Traversable:
    return files("study.conf") / group


def _allowed_instead(config_name: str, error: BaseException) -> str:
    """For an override of a key that is not there: what is."""
    match = re.search(r"Could not override '([\w.]+)'", str(error))
    if match is None:
        return ""
    with initialize_config_module("study.conf", version_base="1.3"):
        node: Any = hydra_compose(config_name)
    for part in match[1].split(".")[:-1]:
        node = node.get(part, node)
    return f"; allowed: {', '.join(map(str, node))}"


def one_line(error: BaseException) -> str:
    """The message of a Hydra or OmegaConf error as one line, without its hints about the inside of the config."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    dropped = (
        "full_key:",
        "object_type=",
        "To append to your config",
        "Config search path",
        "provider=",
        "schema=",
        "reference_type=",
        "See https",
    )
    return " ".join(line for line in lines if not line.startswith(dropped))


def require_study(study_dir: Path) -> None:
    """Raises ValueError where no sweep has written its marker and study.yaml."""
    if not study_dir.is_dir():
        raise ValueError(f"study_dir must be a study's directory but {study_dir} is not there")
    if not (study_dir / "study.yaml").is_file():
        raise ValueError(f"study_dir must hold a study but {study_dir} has no study.yaml (yet)")
    if not is_claimed(study_dir):
        raise ValueError(f"study_dir must hold a study of this program but {study_dir} has no {MARKER}")


def entry_point(main: Callable[[list[str]], int], argv: Sequence[str] | None = None) -> NoReturn:
    """Runs main(arguments) and exits with its result; a ValueError becomes one line on stderr and exit code 2.

    argv: by default those of the process. -h and --help print what the module of main says of itself.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(arguments):
        print(_help(main))
        sys.exit(0)
    # What stops a job is treated like Ctrl-C, and so is study.cancel where a script's shell had it ignore that.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        code = main(arguments)
        sys.stdout.flush()
        sys.exit(code)
    except ValueError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python says so again at its end
        sys.exit(128 + signal.SIGPIPE)


def _help(main: Callable[[list[str]], int]) -> str:
    return f"{str(sys.modules[main.__module__].__doc__).strip()}\n\n{_ENDING}"


def _reader_is_gone() -> bool:
    """Whether what read our output, as in `| head`, has ended."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
