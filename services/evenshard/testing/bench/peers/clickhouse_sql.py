"""What ClickHouse is asked: its tables, and the ways to leave duplicates out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

State = Literal["unmerged", "merged"]
STATES: Final[tuple[State, ...]] = ("unmerged", "merged")

_COLUMNS: Final = (
    "event LowCardinality(String), distinct_id String, time Int64, insert_id String, "
    "page LowCardinality(String), amount Int64"
)
_COUNTRY: Final = ", country LowCardinality(String)"
_IDENTITY: Final = "event, distinct_id, time, insert_id"
_ORDER: Final = "distinct_id, time, event, insert_id"
_NO_MERGES: Final = "max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1"
"""Holds across restarts, unlike SYSTEM STOP MERGES."""
_ONE_BLOCK: Final = (
    "max_insert_threads = 1, max_insert_block_size = 1000000000, min_insert_block_size_rows = 1000000000, "
    "min_insert_block_size_bytes = 0"
)
DAY: Final = "intDiv(time, 86400000)"


def insert_table(name: str) -> list[str]:
    """A table that events are inserted into, its merges on."""
    return [f"CREATE TABLE {name} ({_COLUMNS}) ENGINE = MergeTree ORDER BY ({_ORDER})"]


def insert(name: str, files: Sequence[Path]) -> str:
    """Inserts files of one folder as one part (a partition)."""
    pattern = str(files[0].parent / ("{" + ",".join(path.name for path in files) + "}")) if files[1:] else files[0]
    return f"INSERT INTO {name} SELECT * FROM file('{pattern}', 'ArrowStream') SETTINGS {_ONE_BLOCK}"


def query_table(name: str, state: State, *, by_day: bool = False) -> list[str]:
    """A table that drops duplicates when it merges; ``unmerged``: which it never does."""
    partitions = f" PARTITION BY {DAY}" if by_day else ""
    settings = f" SETTINGS {_NO_MERGES}" if state == "unmerged" else ""
    create = f"CREATE TABLE {name} ({_COLUMNS}{_COUNTRY}) ENGINE = ReplacingMergeTree{partitions} ORDER BY ({_ORDER})"
    return [create + settings, *([f"SYSTEM STOP MERGES {name}"] if state == "unmerged" else [])]


def merge(name: str) -> str:
    """One part a partition, without duplicates."""
    return f"OPTIMIZE TABLE {name} FINAL"


def parts(name: str) -> str:
    """How many parts, their rows and their bytes on disk."""
    return (
        "SELECT count(), sum(rows), sum(bytes_on_disk) FROM system.parts "
        f"WHERE active AND database = 'bench' AND table = '{name}'"
    )


def sources(name: str, state: State, where: str) -> Iterator[tuple[str, str]]:
    """Each way to read the events without duplicates, where a condition on their identity holds: its name, and what
    stands behind FROM. ``any``, not argMin: copies are exact here, and it is the faster of the two."""
    if state == "merged":
        yield "merged", f"(SELECT * FROM {name} WHERE {where})"
        return
    yield "FINAL", f"(SELECT * FROM {name} FINAL WHERE {where})"
    yield (
        "GROUP BY",
        f"(SELECT {_IDENTITY}, any({name}.country) AS country FROM {name} WHERE {where} GROUP BY {_IDENTITY})",
    )
    yield "LIMIT 1 BY", f"(SELECT * FROM {name} WHERE {where} LIMIT 1 BY {_IDENTITY})"
