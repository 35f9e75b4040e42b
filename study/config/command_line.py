"""What every entry point shares: Hydra overrides in, one clear line and exit code 2 for what the user got wrong."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from study.config.gpus import default_gpus_per_worker
from study.config.options import groups, option_config, option_names
from study.config.overrides import is_file_argument, overrides
from study.directory.claim import MARKER, is_claimed
from trainables.checks import meant

_ENDING = f"""\
--cfg prints the config with all of its keys and ends; every one can be given as key=value. What they mean:
study/README.md of the repository, "Every config key". Methods, teachers and data sets are options of the config:
{files("study.conf")}
Exit codes: 0 done, 1 failed, 2 a bad value (nothing was started), 3 the budget is spent, 130 interrupted."""


def compose(config_name: str, argv: Sequence[str]) -> DictConfig:
    """The config `study/conf/<config_name>.yaml` under what is in argv: a study's YAML file, overrides, --cfg.

    --cfg prints the config and ends the process. Raises ValueError with one line that names the key or group, the value
    and what is allowed.
    """
    is_shown = "--cfg" in argv
    argv = [argument for argument in argv if argument != "--cfg"]
    OmegaConf.register_new_resolver("oc.env", _refuse_environment, replace=True)
    for argument in argv:
        if argument.startswith("-"):
            raise ValueError(_no_option(argument, _composed(config_name, ())))
    with_file = any(map(is_file_argument, argv))
    base = _container(_composed(config_name, ())) if with_file else {}
    given = overrides(argv, base)
    try:
        cfg = _composed(config_name, given)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(unknown_key(config_name, given, error) or one_line(error)) from error
    for key, value in _container(cfg).items():
        if key in ("seeds", "teacher_seeds") and isinstance(value, str) and "${" not in value:
            cfg[key] = seed_list(key, value)
    if "cluster" in cfg and OmegaConf.select(cfg, "cluster.gpus_per_worker", default=0) is None:
        cfg.cluster.gpus_per_worker = default_gpus_per_worker(cfg.cluster.address)
    if is_shown:
        print(OmegaConf.to_yaml(cfg, resolve=True), end="")
        sys.exit(0)
    return cfg


def _composed(config_name: str, given: Sequence[str]) -> DictConfig:
    with initialize_config_module("study.conf", version_base="1.3"):
        return hydra_compose(config_name, overrides=list(given))


def _container(cfg: DictConfig) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(content, dict)
    return content


def seed_list(key: str, value: str) -> list[int]:
    """What 0-19 and range(20), range(5, 20) stand for."""
    if found := _SEEDS.fullmatch(value.strip()):
        first, last, start, stop = found.groups()
        low, high = (int(first), int(last) + 1) if first else (int(start or 0), int(stop))
        if low < high <= low + 10**6:
            return list(range(low, high))
    raise ValueError(f"{key} must be a list such as [0,1,2], or 0-2, or range(3), but got {value!r}")


_SEEDS = re.compile(r"(\d{1,9})-(\d{1,9})|range\(\s*(?:(\d{1,9})\s*,\s*)?(\d{1,9})\s*\)")


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain mappings and lists, with every value there. Raises ValueError naming a key that lacks one."""
    try:
        raw: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"{error.full_key or 'the config'}: {one_line(error)}") from error
    assert isinstance(raw, dict)
    return raw


def _refuse_environment(variable: str, *_default: object) -> None:
    """Secrets of the environment would be written into study.yaml and the logs."""
    raise ValueError(f"${{oc.env:{variable}}} is not allowed: a value may not come from an environment variable")


def _no_option(argument: str, cfg: DictConfig) -> str:
    """What is said of --dry-run and the like."""
    name, _, value = argument.lstrip("-").replace("-", "_").partition("=")
    said = f"{argument} is not an option; every value is an override of the form key=value"
    key = next((key for key in keys_of(_container(cfg)) if key in (name, name.replace("__", "."))), None)
    return f"{said}; did you mean {key}={value or 'true'}?" if key else f"{said}; the options are --help and --cfg"


def unknown_key(config_name: str, given: Sequence[str], error: BaseException) -> str:
    """For an override of a key that is not there: what is, in the config that the other overrides choose."""
    match = re.search(r"Could not (?:override|delete)[^']*'([^'=]+)", str(error))
    if match is None:
        return ""
    key, chosen = match[1], [one for one in given if one.partition("=")[0].partition("@")[0] in groups()]
    if key.partition("@")[0] in groups():
        return f"{key} is not in the config yet: +{key}=... adds it"
    with suppress(HydraException, OmegaConfBaseException):
        raw = _container(_composed(config_name, chosen))
        group, _, name = key.partition(".")
        having = (
            [f"{group}={one}" for one in option_names(group) if name in option_config(group, one)]
            if (group in groups())
            else []
        )
        if having:
            return f"{key} is a key of {', '.join(having)}, none of which is chosen"
        parent: Any = raw
        for part in key.split(".")[:-1]:
            parent = parent.get(part, parent) if isinstance(parent, Mapping) else parent
        allowed = ", ".join(map(str, parent)) if isinstance(parent, Mapping) else "none below a value"
        return f"{key} is not a key of the config; allowed: {allowed}{meant(key, keys_of(raw))}"
    return ""


def keys_of(content: Mapping[Any, Any], prefix: str = "") -> list[str]:
    """All keys of a config, dotted, groups among them."""
    found = []
    for key, value in content.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, Mapping):
            found += keys_of(value, f"{prefix}{key}.")
    return found


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
    """Runs main(arguments) and exits with its result; a ValueError becomes one line on stderr and exit code 2,
    Ctrl-C (and SIGTERM) another and 130, where main does not say more itself.

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
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
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
