"""Segmentations equal DuckDB's and ClickHouse's over random rows, wherever the rows are."""

import math
import random
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from evenshard.queries import answer, scans
from evenshard.queries.measures import MEASURES, OF_EVENTS
from evenshard.queries.model import segmentation_query
from evenshard.queries.partials import read_partial
from evenshard.testing.reference import Row
from evenshard.testing.scanned import scanned_rows
from evenshard.testing.segmentation_sql import Answer, ClickHouseRows, DuckDbRows, Question, available

pytestmark = pytest.mark.skipif(not available(), reason="SKIPPED: NO PEERS: chdb and duckdb (the bench extra)")
START_MS = 1_767_225_600_000  # 2026-01-01, a Thursday
DAYS = 70
SHARDS = (1, 2, 7)


def random_rows(chance: random.Random, count: int) -> list[Row]:
    """Rows over ten weeks: anonymous ones too, properties not set, numbers with and without a fraction."""
    plans = [None, "free", "pro", "ä", "$x", "zz", *(f"plan-{at}" for at in range(chance.choice([0, 20])))]
    skew = chance.choice([1, 3])
    return [
        {
            "event": chance.choice(["view", "view", "buy", "click"]),
            "distinct_id": chance.choice(["", *(f"user-{at}" for at in range(1, chance.choice([3, 200])))]),
            "time": START_MS + int(chance.random() ** skew * DAYS * 86_400_000),
            "insert_id": None,
            "duplicate": False,
            "properties": {
                "plan": chance.choice(plans),
                "whole": chance.choice([None, 0, 1, chance.randint(-1000, 1000), chance.randint(-(2**52), 2**52)]),
                "real": chance.choice([None, 0.5, chance.uniform(-1, 1), chance.lognormvariate(0, 3), -2.0]),
            },
        }
        for _ in range(count)
    ]


def random_question(chance: random.Random) -> Question:
    first, last = sorted(chance.choices(range(DAYS), k=2))
    unit = chance.choice(["hour", "day", "week", "month"])
    measure = chance.choice(MEASURES)

    def day(number: int) -> str:
        return pa.scalar(START_MS + number * 86_400_000, pa.timestamp("ms")).as_py().date().isoformat()

    return Question(
        day(first),
        day(last),
        unit,
        measure,
        "" if measure in OF_EVENTS else chance.choice(["whole", "real"]),
        chance.choice([(), ("view",), ("view", "buy")]),
        chance.choice([(), (), ("plan",), ("event", "plan")]),
        chance.choice([1, 3, 60]),
    )


def as_table(rows: list[Row]) -> pa.Table:
    def column(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([row["properties"][name] for row in rows], kind)

    return pa.table(
        {
            "event": [row["event"] for row in rows],
            "user": [row["distinct_id"] for row in rows],
            "time": pa.array([row["time"] for row in rows], pa.timestamp("ms")),
            "plan": column("plan", pa.utf8()),
            "whole": column("whole", pa.int64()),
            "real": column("real", pa.float64()),
        }
    )


def ours(question: Question, shards: list[list[Any]]) -> Answer:
    """The answer of shards, each a list of scanned rows."""
    query = segmentation_query(
        from_date=question.first_day,
        to_date=question.last_day,
        events=question.events,
        unit=question.unit,
        measure=question.measure,
        property=question.column,
        by=["$event" if name == "event" else name for name in question.by],
        limit=question.limit,
    )
    plan = answer.plan_segmentation(query, ZoneInfo("UTC"), dedupe=True)
    keep = None
    for _ in range(2):
        partials = [read_partial(scans.run(plan.scan.to_json(), shard)[0]) for shard in shards]
        merged = answer.merge(partials)
        keep = answer.groups_to_keep(plan, merged)
        if keep is None:
            break
        plan = plan.keeping(keep)
    assert keep is None
    found = answer.finish(plan, merged)
    labels = [label[:16] if "T" in label else f"{label}T00:00" for label in found.buckets]
    return {line.by: {"": line.overall, **dict(zip(labels, line.values, strict=True))} for line in found.series}


def differences(question: Question, got: Answer, expected: Answer) -> list[str]:
    """Empty cells, which SQL does not list, are 0 or undefined here."""
    nothing = 0 if question.measure in ("total", "unique", "sum") else None
    integers = question.measure in ("total", "unique") or (
        question.column == "whole" and question.measure in ("sum", "min", "max")
    )

    def same(value: float | None, wanted: float | None) -> bool:
        if integers or value is None or wanted is None:
            return value == wanted
        return math.isclose(value, wanted, rel_tol=1e-9, abs_tol=1e-9)

    if set(got) != set(expected):
        return [f"groups {sorted(map(str, got))}, not {sorted(map(str, expected))}"]
    return [
        f"{group} {label}: {value}, not {expected[group].get(label, nothing)}"
        for group, values in got.items()
        for label, value in values.items()
        if not same(value, expected[group].get(label, nothing))
    ]


def check(seed: int, questions: int, folder: Path, count: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    rows = random_rows(chance, count)
    table = as_table(rows)
    clickhouse = ClickHouseRows(table, folder)
    try:
        compare(chance, rows, {"duckdb": DuckDbRows(table), "clickhouse": clickhouse}, questions)
    finally:
        clickhouse.close()


def compare(chance: random.Random, rows: list[Row], peers: dict[str, Any], questions: int) -> None:
    placements = {}
    for number in SHARDS:
        homes: list[list[Row]] = [[] for _ in range(number)]
        for row in rows:
            homes[sum((row["distinct_id"] or str(row["time"])).encode()) % number].append(row)
        placements[number] = [
            [(home[at : at + 500], at % 1000 == 0) for at in range(0, len(home), 500)] for home in homes
        ]
    for at in range(questions):
        question = random_question(chance)
        first_ms, end_ms = ms_of(question.first_day), ms_of(question.last_day) + 86_400_000
        number = SHARDS[at % len(SHARDS)]
        shards = [
            [
                scanned_rows(
                    [row for row in piece if first_ms <= row["time"] < end_ms], indexed=indexed, dictionaries=indexed
                )
                for piece, indexed in home
            ]
            for home in placements[number]
        ]
        got = ours(question, shards)
        for name, peer in peers.items():
            wrong = differences(question, got, peer.answer(question))
            assert not wrong, (name, question, number, wrong[:5])


def inside(rows: list[Row], first_ms: int, end_ms: int) -> list[Row]:
    return [row for row in rows if first_ms <= row["time"] < end_ms]


def ms_of(day: str) -> int:
    return int(pa.scalar(day).cast(pa.timestamp("ms")).value)


def test_forty_random_segmentations_equal_duckdb_and_clickhouse(tmp_path: Path) -> None:
    check(seed=1, questions=40, folder=tmp_path, count=400)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_random_segmentations_equal_duckdb_and_clickhouse(seed: int, tmp_path: Path) -> None:
    check(seed, questions=1000, folder=tmp_path, count=800)
