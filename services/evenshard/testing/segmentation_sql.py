"""Segmentations as SQL of DuckDB and of ClickHouse: independent answers to the same question over the same rows.

Part of the ``bench`` extra; ``available()`` says whether it is there. Rows are a table ``rows`` with the columns
``event`` and ``user`` (text, ``""`` nobody), ``time`` (timestamp, UTC), ``plan`` (text or null) and two of numbers,
``whole`` and ``real`` (or null).
"""

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Answer = dict[tuple[Any, ...], dict[str, float | None]]
"""By group: the value of each bucket that has events, by its label, and that of ``""``, the whole range."""


@dataclass(frozen=True, slots=True)
class Question:
    """Days are inclusive."""

    first_day: str
    last_day: str
    unit: str
    measure: str
    column: str
    """Of numbers; empty for measures of events."""
    events: tuple[str, ...]
    by: tuple[str, ...]
    """Of ``plan`` and ``event``."""
    limit: int


def available() -> bool:
    """Whether both engines are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("chdb", "duckdb"))


class DuckDbRows:
    """Rows in a database of DuckDB."""

    def __init__(self, rows: pa.Table) -> None:
        import duckdb

        self._database = duckdb.connect()
        self._database.execute("SET threads = 1; SET TimeZone = 'UTC'")
        self._database.register("given", rows)
        self._database.execute("CREATE TABLE rows AS SELECT * FROM given")

    def answer(self, question: Question) -> Answer:
        """As SQL has it: groups beyond the limit are ``("$other", …)``."""
        measures = {
            "total": "count(*)",
            "unique": "count(DISTINCT nullif(user, ''))",
            "average": "count(nullif(user, '')) / count(DISTINCT nullif(user, ''))",
            **{name: f"{name}({question.column})" for name in ("sum", "min", "max", "avg")},
            **{f"p{percent}": f"quantile_cont({question.column}, {percent / 100})" for percent in (50, 90, 99)},
        }
        label = f"strftime(date_trunc('{question.unit}', time), '%Y-%m-%dT%H:%M')"
        sql = _sql(question, measures[question.measure], label)
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
        """As SQL has it: groups beyond the limit are ``("$other", …)``."""
        import orjson

        column = question.column
        measures = {
            "total": "count(*)",
            "unique": "uniqExactIf(user, user != '')",
            "average": "countIf(user != '') / uniqExactIf(user, user != '')",
            **{name: f"{name}({column})" for name in ("sum", "min", "max", "avg")},
            **{f"p{percent}": f"quantileExactInclusive({percent / 100})({column})" for percent in (50, 90, 99)},
        }
        starts = {"hour": "toStartOfHour(time)", "day": "toStartOfDay(time)", "minute": "toStartOfMinute(time)",
                  "week": "toMonday(time)", "month": "toStartOfMonth(time)"}  # fmt: skip
        label = f"formatDateTime(toDateTime({starts[question.unit]}, 'UTC'), '%Y-%m-%dT%H:%i')"
        sql = _sql(question, measures[question.measure], label).replace("FROM rows", "FROM default.rows")
        text = str(self._session.query(f"{sql} SETTINGS session_timezone = 'UTC'", "JSONCompactEachRow").data())
        return _answer(question, [orjson.loads(line) for line in text.splitlines()])


def _sql(question: Question, measure: str, label: str) -> str:
    names = ", ".join(f"'{name}'" for name in question.events)
    selected = f"time >= '{question.first_day} 00:00:00' AND time < '{question.last_day} 23:59:59.999999'"
    if question.events:
        selected += f" AND event IN ({names})"
    rows = f"SELECT *, {label} AS label FROM rows WHERE {selected}"
    if not question.by:
        return (
            f"WITH chosen AS ({rows}) SELECT label, {measure} FROM chosen GROUP BY label "
            f"UNION ALL SELECT '', {measure} FROM chosen"
        )
    by = ", ".join(question.by)
    ascending = ", ".join(f"{name} ASC NULLS FIRST" for name in question.by)
    joined = " AND ".join(f"coalesce(a.{name}, '∅') = coalesce(g.{name}, '∅')" for name in question.by)
    shown = ", ".join(f"if(place <= {question.limit}, coalesce(g.{name}, '∅'), '$other') AS by_{at}"
                      for at, name in enumerate(question.by))  # fmt: skip
    keys = ", ".join(f"by_{at}" for at in range(len(question.by)))
    return (
        f"WITH chosen AS ({rows}), counted AS (SELECT {by}, count(*) AS events FROM chosen GROUP BY {by}), "
        f"ranked AS (SELECT {by}, row_number() OVER (ORDER BY events DESC, {ascending}) AS place FROM counted), "
        f"lines AS (SELECT a.*, {shown} FROM chosen AS a JOIN ranked AS g ON {joined}) "
        f"SELECT label, {keys}, {measure} FROM lines GROUP BY label, {keys} "
        f"UNION ALL SELECT '', {keys}, {measure} FROM lines GROUP BY {keys}"
    )


def _answer(question: Question, lines: Sequence[Sequence[Any]]) -> Answer:
    found: Answer = {} if question.by else {(): {}}
    for label, *by, value in lines:
        number = None if value is None or math.isnan(float(value)) else value
        if question.measure == "sum":
            number = number or 0
        group = tuple(None if each == "∅" else each for each in by)
        found.setdefault(group, {})[label] = number
    return found
