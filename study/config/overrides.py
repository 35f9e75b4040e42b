"""What a user types -> Hydra's overrides: experiments, the lines of a study's own file, values that need quotes."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from study.config.options import groups, option_config, option_names
from trainables.checks import meant
from trainables.plugins import is_path

FILE_ENDINGS = (".yaml", ".yml")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_OWN_SYNTAX = ("[", "{", "'", '"')  # what begins like this is Hydra's to read


def overrides(argv: Sequence[str], base: Mapping[str, Any]) -> list[str]:
    """What Hydra is given for the arguments: key=value, and at most one YAML file whose lines the others win over.

    base: the config without any override, by which a mapping in the file is keys or a value. Raises ValueError in one
    line for what cannot be an override.
    """
    files = [argument for argument in argv if is_file_argument(argument)]
    if len(files) > 1:
        raise ValueError(f"at most one file of a study can be given but got {', '.join(files)}")
    given = [readable(argument) for argument in argv if argument not in files]
    keys = {_key(argument) for argument in given}
    of_file = [line for file in files for line in _lines(Path(file), base) if _key(line) not in keys]
    return of_own_data(expanded([*of_file, *given]))


def is_file_argument(argument: str) -> bool:
    """Whether an argument is a study's file and not key=value, whose key has no slash and whose value may be a path."""
    return argument.endswith(FILE_ENDINGS) and ("=" not in argument or "/" in argument.partition("=")[0])


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
            raise ValueError(f"{key} must be one of {', '.join(allowed)} but got {value!r}{meant(value, allowed)}")
    experiment = option_config("experiment", name)
    given = {_key(argument) for argument in rest}
    own = [*experiment["shared"], *experiment[scale]]
    last = {_key(argument): argument for argument in own}  # a scale's own over the shared
    return [argument for key, argument in last.items() if key not in given] + rest


def of_own_data(argv: Sequence[str]) -> list[str]:
    """With data.source=module:name the group is data=own, and every other key of data is a setting of that source."""
    sources = [one.partition("=")[2].strip("'\"") for one in argv if _key(one) == "data.source"]
    if not any(map(is_path, sources)):
        return list(argv)
    group = [] if any(_key(one) == "data" for one in argv) else ["data=own"]
    return group + [f"++{one.lstrip('+')}" if _key(one).startswith("data.") else one for one in argv]


def readable(argument: str) -> str:
    """The argument as Hydra reads it: a value without brackets or quotes that is not in its grammar is text as it is.

    So paths may hold =, (, #, umlauts and quotes; a leading ~/ is the home folder. Raises ValueError, saying how it is
    written, for what is no key=value.
    """
    key, equals, value = argument.partition("=")
    if value == "~" or value.startswith("~/"):
        value = os.path.expanduser(value)  # noqa: PTH111  (as text: a path may end in a slash)
        argument = f"{key}={value}"
    try:
        override = _parsed(argument)
    except HydraException as error:
        if not equals or value.lstrip().startswith(_OWN_SYNTAX):
            raise _unreadable(argument, error) from error
        argument = f"{key}={_quoted(value)}"
        try:
            override = _parsed(argument)
        except HydraException as again:
            raise _unreadable(argument, again) from again
    _check(override, argument)
    if isinstance(override.value(), RangeSweep):
        return f"{key}={_quoted(value)}"  # a list of seeds, where one is wanted
    if override.is_sweep_override():
        as_list, as_text = shlex.quote(f"{key}=[{value}]"), shlex.quote(f'{key}="{value}"')
        raise ValueError(f"{key} takes one value but got {value}: a list is {as_list}, a text with a comma {as_text}")
    return argument


def in_grammar(value: Any) -> str:
    """A value of YAML as Hydra's grammar writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{','.join(map(in_grammar, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{in_grammar(inner)}" for key, inner in value.items()) + "}"
    return _quoted(str(value))


def _lines(path: Path, base: Mapping[str, Any]) -> Iterator[str]:
    """The overrides that a study's file stands for: one for each of its keys, which may be nested or dotted."""
    try:
        content = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")), resolve=False)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is not there; kd-study init {path} writes one") from error
    except (OSError, ValueError, OmegaConfBaseException) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    except Exception as error:  # PyYAML's, which say where
        if type(error).__module__.partition(".")[0] != "yaml":
            raise
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must map keys to values but holds {content!r}")
    for key, value in _flat("", content, base):
        override = f"{key}={value if key in groups() and _is_plain(value) else in_grammar(value)}"
        try:
            _check(_parsed(override), override)
        except (HydraException, ValueError) as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
        yield override


def _flat(prefix: str, content: Mapping[Any, Any], base: Any) -> Iterator[tuple[str, Any]]:
    """Keys with their values; a mapping is a value where the config has no keys under it."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        inner = base.get(str(key)) if isinstance(base, Mapping) else None
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            yield from _flat(f"{name}.", value, inner)
        else:
            yield name, value


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) and _PLAIN.match(value) is not None


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _parsed(argument: str) -> Override:
    return OverridesParser.create().parse_override(argument)


def _quoted(text: str) -> str:
    """As text in Hydra's grammar, whatever is in it."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{escaped[len(escaped) - trailing :]}'"


def _unreadable(argument: str, error: HydraException) -> ValueError:
    if "=" not in argument:
        return ValueError(f"{argument!r} is not an override of the form key=value{_if_file(argument)}")
    reason = " ".join(str(error).splitlines()[0].split())
    return ValueError(
        f"{argument!r} is not an override of the form key=value: {reason}; within [ ] and {{ }} a text with more than"
        " letters, digits and ./-_ has quotes of its own, and the whole has the shell's: 'key=[\"a (text)\"]'"
    )


def _if_file(argument: str) -> str:
    return "; a study's file ends in .yaml" if Path(argument).exists() else ""


def _check(override: Override, argument: str) -> None:
    if not override.key_or_group:
        raise ValueError(f"{argument!r} names no key; every value is an override of the form key=value")
    key = override.key_or_group
    if key.partition(".")[0].partition("/")[0] == "hydra":
        raise ValueError(f"{key} is not a key of the study: Hydra itself is not configured here")
    group = key.partition("@")[0]
    if group not in groups() or override.is_delete():
        return
    names, value = option_names(group), override.value()
    if not isinstance(value, str) or (group != "experiment" and value not in names):
        raise ValueError(f"{group} must be one of {', '.join(names)} but got {value!r}{meant(value, names)}")
