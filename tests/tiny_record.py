"""A row of the records with everything that is required and little else."""

from typing import Any

from analysis.records.rows import RUN_SCHEMA

_KINDS = {"string": "text", "int32": 1, "int64": 1, "double": 1.0, "bool": False}


def make_record(run_id: str = "0123456789abcdef") -> dict[str, Any]:
    required = {field.name: _KINDS[str(field.type)] for field in RUN_SCHEMA if not field.nullable}
    del required["schema_version"]
    return {**required, "run_id": run_id, "status": "ok", "phase": "grid"}
