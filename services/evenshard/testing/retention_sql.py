"""Retention as SQL of DuckDB and of ClickHouse: independent answers to the same question over the same rows.

Part of the ``bench`` extra; ``available()`` says whether it is there. Rows are a table ``rows`` with the columns
``place`` (the order of a user's events), ``event`` and ``user`` (text, ``""`` nobody), ``ms``, ``time`` (timestamp,
UTC) and ``plan`` (text, never null).
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

Answer = dict[tuple[str, str], tuple[int, tuple[int, ...]]]
"""By group (``""``: everybody) and cohort that has users: how many, and how many returned in each bucket."""
_ROLLING_MS = {"day": 86_400_000, "week": 7 * 86_400_000, "month": 30 * 86_400_000}


@dataclass(frozen=True, slots=True)
class Question:
    """Days are inclusive. Names: none for any event."""

    first_day: str
    last_day: str
    zone: str
    birth: tuple[str, ...]
    returning: tuple[str, ...]
    unit: str
    buckets: int
    on_or_after: bool
    calendar: bool
    lifetime: bool
    by_plan: bool


def available() -> bool:
    """Whether both engines are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("chdb", "duckdb"))


class DuckDbRows:
    """Rows in a database of DuckDB; it knows UTC only."""

    def __init__(self, rows: pa.Table) -> None:
        import duckdb

        self._database = duckdb.connect()
        self._database.execute("SET threads = 1; SET TimeZone = 'UTC'")
        self._database.register("given", rows)
        self._database.execute("CREATE TABLE rows AS SELECT * FROM given")

    def answer(self, question: Question) -> Answer:
        unit = question.unit
        difference = f"date_diff('{unit}', CAST(b.time AS DATE), CAST(r.time AS DATE))"
        if unit == "week":  # its own counts weeks from Thursdays
            difference = "date_diff('day', date_trunc('week', b.time), date_trunc('week', r.time)) // 7"
        rolling = f"(r.ms - b.ms) // {_ROLLING_MS[unit]}"
        start = f"strftime(date_trunc('{unit}', b.time), '%Y-%m-%d')"
        sql = _sql(question, "rows", "CAST(time AS DATE)", start, difference if question.calendar else rolling)
        return _answer(question, self._database.execute(sql).fetchall())


class ClickHouseRows:
    """Rows in a database of ClickHouse, the only one of this process until it is closed."""

    def __init__(self, rows: pa.Table, folder: Path) -> None:
        from chdb.session import Session

        path = folder / "rows.parquet"
        pq.write_table(rows, path)
        self._session = Session(str(folder / "clickhouse"))
        self._session.query(f"CREATE TABLE default.rows ENGINE = Memory AS SELECT * FROM file('{path}')")

    def close(self) -> None:
        self._session.close()

    def answer(self, question: Question) -> Answer:
        unit, zone = question.unit, question.zone
        day = f"toDate(time, '{zone}')"
        born, back = (f"toDate({each}.time, '{zone}')" for each in "br")
        start = {"day": born, "week": f"toMonday({born})", "month": f"toStartOfMonth({born})"}[unit]
        bucket = f"intDiv(r.ms - b.ms, {_ROLLING_MS[unit]})"
        if question.calendar:
            bucket = f"dateDiff('{unit}', {born}, {back})"
        sql = _sql(question, "default.rows", day, f"toString({start})", bucket)
        text = str(self._session.query(sql, "JSONCompactEachRow").data())
        return _answer(question, [orjson.loads(line) for line in text.splitlines()])


def _sql(question: Question, rows: str, day: str, start: str, bucket: str) -> str:
    """Lines of (group, cohort, bucket, users); bucket -1: born. With ``on_or_after`` buckets are each user's last."""

    def named(names: Sequence[str], event: str) -> str:
        return f"{event} IN ({', '.join(map(repr, names))})" if names else "1 = 1"

    inside = f"{day} BETWEEN '{question.first_day}' AND '{question.last_day}'"
    group = "b.plan" if question.by_plan else "''"
    births = f"user <> '' AND {named(question.birth, 'event')}"
    if not question.lifetime:
        births += f" AND {inside}"
    last = question.buckets - 1
    cells = f"SELECT {group} AS line, {start} AS cohort, {bucket} AS bucket, b.user AS user FROM born b "
    cells += f"JOIN {rows} r ON r.user = b.user WHERE r.ms >= b.ms AND r.place <> b.place "
    cells += f"AND {named(question.returning, 'r.event')}"
    if question.on_or_after:
        counted = (
            f"SELECT line, cohort, least(last, {last}) AS bucket, count(*) FROM (SELECT line, cohort, user, "
            "max(bucket) AS last FROM cells GROUP BY line, cohort, user) each "
            f"GROUP BY line, cohort, least(last, {last})"
        )
    else:
        counted = (
            "SELECT line, cohort, bucket, count(DISTINCT user) FROM cells "
            f"WHERE bucket <= {last} GROUP BY line, cohort, bucket"
        )
    return (
        f"WITH firsts AS (SELECT user, min(place) AS place FROM {rows} WHERE {births} GROUP BY user), "
        f"born AS (SELECT r.user AS user, r.place AS place, r.ms AS ms, r.time AS time, r.plan AS plan FROM {rows} r "
        f"JOIN firsts f ON f.user = r.user AND f.place = r.place WHERE {inside.replace('time', 'r.time')}), "
        f"cells AS ({cells}) "
        f"SELECT {group} AS line, {start} AS cohort, -1 AS bucket, count(*) FROM born b GROUP BY line, cohort "
        f"UNION ALL {counted}"
    )


def _answer(question: Question, lines: Sequence[Sequence[Any]]) -> Answer:
    sizes: dict[tuple[str, str], int] = {}
    cells: dict[tuple[str, str], list[int]] = {}
    for group, cohort, bucket, users in lines:
        key = (str(group), str(cohort))
        if int(bucket) < 0:
            sizes[key] = int(users)
            continue
        returned = cells.setdefault(key, [0] * question.buckets)
        for at in range(int(bucket) + 1) if question.on_or_after else [int(bucket)]:
            returned[at] += int(users)
    return {key: (size, tuple(cells.get(key, [0] * question.buckets))) for key, size in sizes.items()}
