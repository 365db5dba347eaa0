"""Every measure, every option of a retention and of flows over the real history equal the naive reference, tenant by
tenant, by months, weeks and days: rows straight into scans of shards, users whole, split or moved."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from evenshard.queries.measures import MEASURES
from evenshard.testing.asked import Asked, BothAnswers
from evenshard.testing.real_data import load_real_data, real_data_file, rows_by_tenant
from evenshard.testing.reference import Reference, Row
from evenshard.testing.spread import SPREADS, Layout

RANGE = ("2010-01-01", "2026-12-31")
NOW_MS = 1_798_761_600_000
"""2027-01-01: cells of the last cohorts are not over."""
DAY_MS = 86_400_000
OF_FILES = {name: {"measure": name, "property": "files"} for name in MEASURES[3:]}
Ask = Callable[[Asked], BothAnswers]
MEASURED: dict[str, Ask] = {
    "total by ext": lambda ask: ask.segmentation(by=["ext"], limit=7, unit="month"),
    "uniques by week": lambda ask: ask.segmentation(measure="unique", by=["$event"], limit=3, unit="week"),
    "average by day": lambda ask: ask.segmentation(measure="average", events=["Commit", "Merge"]),
    "median of times": lambda ask: ask.segmentation(measure="p50", property="$time", by=["dir"], limit=3, unit="month"),
    **{
        name: lambda ask, fields=fields: ask.segmentation(**fields, by=["utc_offset"], limit=4, unit="month")
        for name, fields in OF_FILES.items()
    },
}  # fmt: skip
RETAINED: dict[str, Ask] = {
    "rolling days": lambda ask: replace(ask, from_date="2020-11-01").retention("Commit", "File modified", buckets=5),
    "calendar weeks": lambda ask: ask.retention("Commit", "Commit", unit="week", align="calendar", buckets=12),
    "months, or later": lambda ask: ask.retention("Commit", "Merge", unit="month", mode="on_or_after", buckets=24),
    "first ever": lambda ask: ask.retention("Merge", "Commit", unit="month", birth_scope="lifetime", align="calendar"),
    "by ext": lambda ask: ask.retention("File added", "File modified", unit="month", by=["ext"], limit=4),
    "by two": lambda ask: ask.retention(
        "File deleted", "File added", unit="week", by=["dir", "utc_offset"], limit=3, birth_scope="lifetime"
    ),
}
FLOWING: dict[str, Ask] = {
    "next": lambda ask: ask.flows("Commit", steps=4, top=3),
    "next others": lambda ask: ask.flows("Commit", steps=4, top=3, collapse_repeats=True, window_ms=DAY_MS),
    "before a merge": lambda ask: ask.flows("Merge", direction="backward", steps=3, top=2),
    "in a session": lambda ask: ask.flows("File added", session=True, steps=10, top=10),
    "before, in a session": lambda ask: ask.flows(
        "File deleted", session=True, direction="backward", collapse_repeats=True, steps=5, top=2
    ),
    "within a second": lambda ask: ask.flows("File modified", window_ms=1000, steps=2),
}
QUESTIONS = MEASURED | RETAINED | FLOWING


@pytest.fixture(scope="module")
def tenants() -> dict[str, list[Row]]:
    path = real_data_file(Path(__file__).resolve().parents[3])
    if not path.exists():
        pytest.skip(f"SKIPPED: NO REAL DATA at {path}")
    return rows_by_tenant(load_real_data(path))


def check(tenant: str, rows: list[Row], number: int, ask: Ask) -> None:
    """By the model; where rows lie takes turns."""
    layout = Layout(SPREADS[number % len(SPREADS)], 5_000 + number % 2, rest=False, dictionaries=number % 3 == 0)
    got, expected = ask(Asked(Reference(rows), tenant, layout, *RANGE, NOW_MS))
    assert got == expected, (tenant, layout)


@pytest.mark.parametrize("name", QUESTIONS)
def test_answers_equal_the_reference_on_the_smallest_tenant(tenants: dict[str, list[Row]], name: str) -> None:
    tenant = min(tenants, key=lambda tenant: len(tenants[tenant]))
    check(tenant, tenants[tenant], list(QUESTIONS).index(name), QUESTIONS[name])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", QUESTIONS)
def test_answers_equal_the_reference_on_every_tenant(tenants: dict[str, list[Row]], name: str) -> None:
    for at, tenant in enumerate(sorted(tenants)):
        check(tenant, tenants[tenant], list(QUESTIONS).index(name) + at, QUESTIONS[name])
