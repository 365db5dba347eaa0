"""Retentions equal ClickHouse's, and in UTC DuckDB's, over random rows, wherever the rows are."""

import random
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from evenshard.queries import retention_answer, scans
from evenshard.queries.partials import read_partial
from evenshard.queries.retention_model import retention_query
from evenshard.queries.steps import Step
from evenshard.testing.reference import Row
from evenshard.testing.retention_sql import Answer, ClickHouseRows, DuckDbRows, Question, available
from evenshard.testing.scanned import scanned_rows

pytestmark = pytest.mark.skipif(not available(), reason="SKIPPED: NO PEERS: chdb and duckdb (the bench extra)")
START_MS = 1_767_225_600_000  # 2026-01-01, a Thursday
DAYS = 110
DAY_MS = 86_400_000
SHARDS = (1, 2, 7)
ZONES = ("UTC", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland")
"""The clock is put forward or back within these days in some."""


def random_rows(chance: random.Random, count: int) -> list[Row]:
    """Rows over sixteen weeks, whole days apart more often than not; anonymous ones too; in the order of events."""
    users = [f"user-{at}" for at in range(chance.choice([3, 30, 200]))]
    offsets = [chance.randrange(DAY_MS) for _ in range(5)]
    rows = [
        {
            "event": chance.choice(["view", "view", "buy", "click"]),
            "distinct_id": chance.choice(["", *users]),
            "time": START_MS + chance.randrange(DAYS) * DAY_MS + chance.choice([*offsets, chance.randrange(DAY_MS)]),
            "insert_id": f"{at:06}",
            "duplicate": False,
            "properties": {"plan": chance.choice(["free", "pro", "ä"])},
        }
        for at in range(count)
    ]
    return sorted(rows, key=lambda row: (row["time"], row["event"], row["insert_id"]))


def random_question(chance: random.Random) -> Question:
    first, last = sorted(chance.choices(range(DAYS), k=2))
    names = [(), ("view",), ("buy",), ("view", "buy"), ("click",)]

    def day(number: int) -> str:
        return str(pa.scalar(START_MS + number * DAY_MS, pa.timestamp("ms")).as_py().date())

    return Question(
        day(first),
        day(last),
        chance.choice(ZONES),
        chance.choice(names),
        chance.choice(names),
        chance.choice(["day", "week", "month"]),
        chance.choice([1, 3, 8, 40]),
        on_or_after=chance.random() < 0.5,
        calendar=chance.random() < 0.5,
        lifetime=chance.random() < 0.5,
        by_plan=chance.random() < 0.3,
    )


def as_table(rows: list[Row]) -> pa.Table:
    return pa.table(
        {
            "place": pa.array(range(len(rows)), pa.int64()),
            "event": [row["event"] for row in rows],
            "user": [row["distinct_id"] for row in rows],
            "ms": pa.array([row["time"] for row in rows], pa.int64()),
            "time": pa.array([row["time"] for row in rows], pa.timestamp("ms", "UTC")).cast(pa.timestamp("ms")),
            "plan": [row["properties"]["plan"] for row in rows],
        }
    )


def ours(question: Question, homes: list[list[Row]]) -> Answer:
    """The answer of shards, each a list of rows; cohorts without users left out."""
    query = retention_query(
        from_date=question.first_day,
        to_date=question.last_day,
        birth=Step(question.birth),
        returning=Step(question.returning),
        unit=question.unit,
        buckets=question.buckets,
        mode="on_or_after" if question.on_or_after else "on",
        align="calendar" if question.calendar else "rolling",
        birth_scope="lifetime" if question.lifetime else "range",
        by=["plan"] if question.by_plan else [],
    )
    plan = retention_answer.plan_retention(query, ZoneInfo(question.zone), dedupe=True)
    partials = []
    for home in homes:
        mine = [row for row in home if plan.scan.start_ms <= row["time"] < plan.scan.end_ms]
        pieces = [mine[at : at + 500] for at in range(0, len(mine), 500)]
        scanned = (
            scanned_rows(piece, indexed=at % 2 == 0, dictionaries=at % 2 == 0) for at, piece in enumerate(pieces)
        )
        partials.append(read_partial(scans.run(plan.scan.to_json(), scanned)[0]))
    found = retention_answer.finish(plan, retention_answer.merge(partials), 1 << 50)
    triangles = [("", found.overall)]
    if question.by_plan:
        triangles = [(str(group.by[0]), group.triangle) for group in found.groups]
    return {
        (group, cohort.start): (cohort.size, cohort.returned)
        for group, triangle in triangles
        for cohort in triangle.cohorts
        if cohort.size
    }


def check(seed: int, questions: int, folder: Path, count: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    rows = random_rows(chance, count)
    table = as_table(rows)
    duckdb, clickhouse = DuckDbRows(table), ClickHouseRows(table, folder)
    shuffled = chance.sample(rows, len(rows))
    returned = 0
    try:
        for at in range(questions):
            question = random_question(chance)
            number = SHARDS[at % len(SHARDS)]
            homes: list[list[Row]] = [[] for _ in range(number)]
            for row in shuffled:
                homes[sum(row["distinct_id"].encode()) % number].append(row)
            got = ours(question, homes)
            assert got == clickhouse.answer(question), ("clickhouse", question)
            if question.zone == "UTC":
                assert got == duckdb.answer(question), ("duckdb", question)
            returned += sum(sum(cells) for _, cells in got.values())
    finally:
        clickhouse.close()
    assert returned > questions  # the answers are of something


def test_twenty_random_retentions_equal_clickhouse_and_duckdb(tmp_path: Path) -> None:
    check(seed=1, questions=20, folder=tmp_path, count=400)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_random_retentions_equal_clickhouse_and_duckdb(seed: int, tmp_path: Path) -> None:
    check(seed, questions=1000, folder=tmp_path, count=800)
