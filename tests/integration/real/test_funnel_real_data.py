"""Funnels over the real history: each tenant's equal the naive reference and, overall, ClickHouse's windowFunnel."""

from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.testing import clickhouse
from evenshard.testing.processes import ClusterProcess
from evenshard.testing.real_data import RealData, rows_by_tenant
from evenshard.testing.reference import Reference

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

RANGE = {"from_date": "2010-01-01", "to_date": "2026-12-31"}
STEPS = ["Commit", "File added", "Merge"]
WINDOW_MS = 7 * 86_400_000
BY_DIR = "by dir of step 2"
QUESTIONS: dict[str, dict[str, Any]] = {
    "overall": {},
    BY_DIR: {"by": ["dir"], "by_step": "2"},
    "by utc_offset of step 1": {"by": ["utc_offset"], "by_step": "1"},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "total, excluding": {"count_mode": "total", "exclusions": [("File deleted", 1, 3)]},
    "strict sessions": {"order": "strict", "count_mode": "session"},
    "any, first": {"order": "any", "attempt": "first", "by": ["ext"], "limit": 3},
}
SMALL_TENANTS = ("litestream", "looptime", "structlog")
"""Of whom every option is asked; of all, where rows go straight into a scan: tests/conformance/funnel."""


def questions(tenant: str) -> dict[str, dict[str, Any]]:
    """Of a large tenant one, for the naive reading takes seconds each; its answer has everybody's steps as well."""
    return QUESTIONS | OPTIONS if tenant in SMALL_TENANTS else {BY_DIR: QUESTIONS[BY_DIR]}


@pytest.fixture(scope="module")
def imported(shared_cluster: ClusterProcess, real_file: Path) -> ClusterProcess:
    answer = shared_cluster.run("import", str(real_file), "--create-tenant")
    assert (answer.exit_status, answer.document["accepted"]) == (0, 244_248), answer
    return shared_cluster


@pytest.fixture(scope="module")
def references(real_data: RealData) -> dict[str, Reference]:
    """One a tenant."""
    return {tenant: Reference(rows) for tenant, rows in rows_by_tenant(real_data).items()}


def naive_answers(references: dict[str, Reference]) -> dict[str, Any]:
    steps = [([name], lambda row: True) for name in STEPS]
    answers: dict[str, Any] = {}
    for tenant, reference in references.items():
        answers[tenant] = {}
        for question, asked in questions(tenant).items():
            excluded = [([name], lambda row: True, *span) for name, *span in asked.get("exclusions", ())]
            options = {**asked, "exclusions": excluded, "window_ms": WINDOW_MS}
            answers[tenant][question] = reference.funnel(tenant, *RANGE.values(), steps, **options)
    return answers


def asked_answers(cluster: ClusterProcess, tenants: list[str]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    with evenshard.connect(router=cluster.router, gateway=cluster.gateway) as client:
        for tenant in tenants:
            answers[tenant] = {}
            for question, asked in questions(tenant).items():
                options = dict(asked)
                exclude = [f"{name}@{after}-{before}" for name, after, before in options.pop("exclusions", ())]
                options["count"] = options.pop("count_mode", "unique")
                found = client.funnel(STEPS, window="7d", exclude=exclude, tenant=tenant, **RANGE, **options)
                document = found.to_dict()
                assert document.pop("meta")["complete"]
                answers[tenant][question] = document
    return answers


def test_funnels_equal_the_naive_reference_from_the_log_and_from_files(
    imported: ClusterProcess, references: dict[str, Reference]
) -> None:
    expected = naive_answers(references)
    assert sum(answers[BY_DIR]["overall"]["steps"][2]["count"] for answers in expected.values()) > 50
    assert asked_answers(imported, sorted(references)) == expected
    with evenshard.connect(router=imported.router) as client:
        for tenant in references:
            assert client.compact(tenant, wait=True, timeout=60)["backlog_rows"] == 0
    assert asked_answers(imported, sorted(references)) == expected


def test_levels_equal_clickhouse(imported: ClusterProcess, references: dict[str, Reference]) -> None:
    if not clickhouse.available():
        pytest.skip("SKIPPED: NO CLICKHOUSE: chdb is not installed (the bench extra)")
    days: Any = {**RANGE, "window": "7d"}
    with evenshard.connect(router=imported.router, gateway=imported.gateway) as client:
        for tenant, reference in references.items():
            users: dict[str, list[tuple[int, int]]] = {}
            for row in reference.rows:
                if row["event"] in STEPS:
                    users.setdefault(row["distinct_id"], []).append((row["time"], 1 << STEPS.index(row["event"])))
            levels = clickhouse.window_funnel_levels(list(users.values()), len(STEPS), WINDOW_MS)
            counts = [sum(level >= step for level in levels) for step in (1, 2, 3)]
            answer = client.funnel(STEPS, tenant=tenant, **days)
            assert [step["count"] for step in answer.overall["steps"]] == counts, tenant
    steps = [flag for name in STEPS for flag in ("--step", name)]
    dates = ["--from", RANGE["from_date"], "--to", RANGE["to_date"], "--window", "7d"]
    told = imported.run("query", "funnel", "--tenant", tenant, *dates, *steps)
    assert [step["count"] for step in told.document["overall"]["steps"]] == counts


def test_mistakes_are_answered_by_a_sentence(imported: ClusterProcess) -> None:
    def funnel(*arguments: str, first: str = "2020-01-01", last: str = "2020-12-31") -> tuple[int, str, str]:
        answer = imported.run("query", "funnel", "--tenant", "looptime", "--from", first, "--to", last, *arguments)
        error = answer.document["error"]
        return answer.exit_status, error["code"], error["message"]

    two = ("--step", "Commit", "--step", "Merge")
    assert funnel("--step", "Commit") == (2, "QUERY_INVALID", "steps: a funnel has 2 to 32 steps, not 1")
    assert funnel(*two[:2] * 33) == (2, "QUERY_INVALID", "steps: a funnel has 2 to 32 steps, not 33")
    assert funnel(*two, first="2021-01-01")[1:] == (
        "RANGE_INVALID",
        "from_date: 2021-01-01 is after to_date 2020-12-31",
    )
    assert funnel(*two, "--where", "dir in [") == (
        2,
        "QUERY_INVALID",
        "where, character 9: a string in double quotes, a number, true or false is expected, not the end",
    )
