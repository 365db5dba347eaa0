"""What DuckDB is asked: its tables, and the ways to leave duplicates out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

INSERT_FILE: Final = "INSERT FILE "
_COLUMNS: Final = (
    "event VARCHAR, distinct_id VARCHAR, time BIGINT, insert_id VARCHAR, page VARCHAR, amount BIGINT, country VARCHAR"
)
_IDENTITY: Final = "event, distinct_id, time, insert_id"
DAY: Final = "time // 86400000"


def load(files: Sequence[Path]) -> list[str]:
    """``events`` with duplicates, ``merged`` without."""
    return [
        f"CREATE TABLE events ({_COLUMNS})",
        *(f"{INSERT_FILE}{path}" for path in files),
        f"CREATE TABLE merged AS SELECT DISTINCT ON ({_IDENTITY}) * FROM events ORDER BY time",
        "CHECKPOINT",
    ]


def source(*, deduplicating: bool) -> str:
    """What stands behind FROM."""
    return f"(SELECT DISTINCT {_IDENTITY}, country FROM events)" if deduplicating else "merged"
