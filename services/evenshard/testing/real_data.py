"""The real events that come with the tests (never with the package): where they are, and how to read them."""

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import zstandard

from evenshard.testing.reference import Row

FILE_NAME = "git_history.ndjson.zst"


def real_data_file(repository: Path) -> Path:
    """Beside the repository; it need not exist."""
    return repository.parent / "shared" / "data" / FILE_NAME


@dataclass(frozen=True, slots=True)
class RealData:
    """The lines as they stand in the file, and the rows they hold."""

    lines: list[bytes]
    rows: list[dict[str, Any]]


def rows_by_tenant(data: RealData) -> dict[str, list[Row]]:
    """Rows as the naive model has them."""
    found: dict[str, list[Row]] = {}
    for line in data.rows:
        properties = dict(line["properties"])
        row: Row = {
            "tenant": line["tenant"],
            "event": line["event"],
            "distinct_id": properties.pop("distinct_id"),
            "time": properties.pop("time"),
            "insert_id": properties.pop("$insert_id"),
            "duplicate": False,
            "properties": properties,
        }
        found.setdefault(row["tenant"], []).append(row)
    return found


@cache
def load_real_data(path: Path) -> RealData:
    """All of it; 244,248 lines."""
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        lines = io.BufferedReader(stream).read().splitlines()
    return RealData(lines, [orjson.loads(line) for line in lines])
