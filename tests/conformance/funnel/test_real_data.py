"""Every option over the real history equals the naive reference, tenant by tenant: rows straight into a scan."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from evenshard.queries import funnel_answer, scans
from evenshard.queries.funnel_model import funnel_query
from evenshard.queries.partials import read_partial
from evenshard.queries.steps import Exclusion, Step
from evenshard.queries.values import JsonText
from evenshard.testing.real_data import load_real_data, real_data_file, rows_by_tenant
from evenshard.testing.reference import Reference, Row, order_of
from evenshard.testing.scanned import scanned_rows

DAY_MS = 86_400_000
RANGE = {"from_date": "2010-01-01", "to_date": "2026-12-31"}
ROWS_PER_BATCH = 5_000
QUESTIONS: dict[str, dict[str, Any]] = {
    "first": {"attempt": "first"},
    "total": {"count_mode": "total"},
    "sessions": {"count_mode": "session"},
    "increasing": {"strict_increase": True},
    "strict": {"order": "strict", "by": ["dir"]},
    "strict total": {"order": "strict", "count_mode": "total", "steps": ["Commit", "File modified", "File modified"]},
    "any": {"order": "any", "window_ms": DAY_MS},
    "any total": {"order": "any", "count_mode": "total", "by": ["ext"], "by_step": "2", "limit": 5},
    "exclusion": {"exclusions": [("Merge", 1, 2)]},
    "exclusions drop users": {"exclusions": [("File deleted", 1, 2)], "exclude_user": True, "window_ms": DAY_MS},
    "exclusion total": {"exclusions": [("Merge", 1, 3), ("File deleted", 2, 3)], "count_mode": "total"},
    "held": {"steps": ["File added", "File modified"], "hold_constant": ["dir"], "by": ["ext"], "limit": 5},
    "held total": {"steps": ["File added", "File modified"], "hold_constant": ["dir", "ext"], "count_mode": "total"},
    "held sessions": {"steps": ["File added", "File modified"], "hold_constant": ["ext"], "count_mode": "session"},
    "a window of 0": {"window_ms": 0},
    "a window of 366 days": {"window_ms": 366 * DAY_MS, "attempt": "first"},
}


@pytest.fixture(scope="module")
def tenants() -> dict[str, list[Row]]:
    path = real_data_file(Path(__file__).resolve().parents[3])
    if not path.exists():
        pytest.skip(f"SKIPPED: NO REAL DATA at {path}")
    return rows_by_tenant(load_real_data(path))


def scanned(rows: list[Row], question: dict[str, Any]) -> dict[str, Any]:
    asked = dict(question)
    steps = [Step((name,)) for name in asked.pop("steps")]
    excluding = [Exclusion(Step((name,)), after, before) for name, after, before in asked.pop("exclusions", ())]
    query = funnel_query(steps=steps, exclusions=excluding, **RANGE, **asked)
    scan = funnel_answer.plan_funnel(query, ZoneInfo("UTC"), dedupe=True).to_json()
    batches = (scanned_rows(rows[at : at + ROWS_PER_BATCH]) for at in range(0, len(rows), ROWS_PER_BATCH))
    partial, _ = scans.run(scan, batches)
    answer = funnel_answer.finish(query, funnel_answer.merge([read_partial(partial)]))

    def dicts(steps: Any) -> list[dict[str, Any]]:
        return [{**asdict(step), "histogram": list(map(asdict, step.histogram))} for step in steps]

    groups = [
        ([order_of(json.loads(v.text) if isinstance(v, JsonText) else v) for v in group.by], dicts(group.steps))
        for group in answer.groups
    ]
    return {"overall": dicts(answer.overall), "groups": groups}


def naive(rows: list[Row], question: dict[str, Any]) -> dict[str, Any]:
    asked = dict(question)
    steps = [([name], lambda row: True) for name in asked.pop("steps")]
    excluding = [([name], lambda row: True, *span) for name, *span in asked.pop("exclusions", ())]
    answer = Reference(rows).funnel(rows[0]["tenant"], **RANGE, steps=steps, exclusions=excluding, **asked)
    groups = [(list(map(order_of, group["by"])), group["steps"]) for group in answer["groups"]]
    return {"overall": answer["overall"]["steps"], "groups": groups}


def check(rows: list[Row], name: str) -> int:
    """How many attempts there were."""
    question = {"steps": ["Commit", "File added", "Merge"], "window_ms": 7 * DAY_MS} | QUESTIONS[name]
    got = scanned(rows, question)
    assert got == naive(rows, question)
    return int(got["overall"][0]["count"])


@pytest.mark.parametrize("name", QUESTIONS)
def test_options_equal_the_reference_on_the_smallest_tenants(tenants: dict[str, list[Row]], name: str) -> None:
    smallest = sorted(tenants.values(), key=len)[:2]
    assert sum(check(rows, name) for rows in smallest) > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", QUESTIONS)
def test_options_equal_the_reference_on_every_tenant(tenants: dict[str, list[Row]], name: str) -> None:
    assert sum(check(rows, name) for rows in tenants.values()) > 100
