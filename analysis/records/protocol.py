"""What rows must agree in before their FIDs may be compared: the data and the whole evaluation identity."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis.records.cells import Cell, flat
from analysis.records.rows import RUN_SCHEMA


def protocol_of(member: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation protocol in a member's identity (nested or flat), by dotted key, e.g. evaluation.noise_seed."""
    return {key: value for key, value in sorted(flat(member)) if key.split(".")[0] in ("data", "evaluation")}


def check_one_protocol(cells: Iterable[Cell]) -> None:
    """Raises ValueError naming the key when cells of different evaluation protocols would be compared."""
    protocols = [protocol_of(cell.member) for cell in cells]
    for key in sorted({key for protocol in protocols for key in protocol}):
        values = sorted({str(protocol.get(key)) for protocol in protocols})
        if len(values) > 1:
            raise ValueError(
                f"rows of different evaluation protocols cannot be compared: {key} is {' and '.join(values)};"
                f" choose rows, e.g. where={{{key}:{values[0]}}}"
            )


def protocols_of(runs: pa.Table) -> list[dict[str, Any]]:
    """The distinct evaluation protocols of the rows `runs`, in no order that means anything."""
    found = {json.dumps(protocol_of(json.loads(text)), sort_keys=True) for text in runs.column("member").to_pylist()}
    return [json.loads(text) for text in sorted(found)]


def choose_rows(runs: pa.Table, where: Mapping[str, Any]) -> pa.Table:
    """The rows whose columns, or dotted keys of `member` such as evaluation.noise_seed, have the values of `where`.

    A list stands for any of its values. A key that a member lacks counts as null. Raises ValueError for a key that no
    row has.
    """
    wanted = dict(flat(where))
    columns = {key: value for key, value in wanted.items() if key in RUN_SCHEMA.names}
    for key, value in columns.items():
        column = runs.column(key)
        runs = runs.filter(
            pc.is_null(column) if value is None else pa.array([_fits(one, value) for one in column.to_pylist()])
        )
    others = {key: value for key, value in wanted.items() if key not in columns}
    if not others or not len(runs):
        return runs
    members = [dict(flat(json.loads(text))) for text in runs.column("member").to_pylist()]
    allowed = {key for member in members for key in member}
    for key in others:
        if key not in allowed:
            raise ValueError(f"where must name columns of the rows or keys of a member but got {key!r}; "
                             f"allowed: {', '.join(sorted({*RUN_SCHEMA.names, *allowed}))}")  # fmt: skip
    return runs.filter(pa.array([all(_fits(one.get(key), value) for key, value in others.items()) for one in members]))


def _fits(actual: Any, wanted: Any) -> bool:
    return bool(actual == wanted or (isinstance(wanted, list) and actual in wanted))
