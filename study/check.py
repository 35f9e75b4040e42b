"""python -m study.check module:name [key=value ...]: whether code of your own holds what a study asks of it.

An output loss (my_losses:cosine lambda_out=2), a feature loss, a data source (my_data:Source path=images), a feature
extractor (my_features:Net size=64), a model family (my_models:FAMILY 'config={depth: 4}' size=32) or a sampler: tried
on small tensors, a line for each contract. Settings are those of the method or of the data.
"""

from __future__ import annotations

from typing import Any

import yaml

from study.config.command_line import entry_point
from trainables.plugins import is_path


def main(argv: list[str]) -> int:
    """Prints what was found; exit code 1 where a contract does not hold."""
    path, settings = _parsed(argv)

    from trainables.contracts import check

    kind, findings = check(path, settings)
    print(f"{path}: {kind}")
    holds = True
    for finding in findings:
        print(finding, flush=True)
        holds &= finding.holds is not False
    return 0 if holds else 1


def _parsed(argv: list[str]) -> tuple[str, dict[str, Any]]:
    paths = [argument for argument in argv if "=" not in argument]
    if len(paths) != 1 or not is_path(paths[0]):
        raise ValueError(f"check takes one module:name and key=value but got {' '.join(argv) or 'nothing'}")
    settings = {}
    for key, _, value in (argument.partition("=") for argument in argv if "=" in argument):
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{key} must be a value as in YAML but got {value!r}") from error
    return paths[0], settings


if __name__ == "__main__":
    entry_point(main)
