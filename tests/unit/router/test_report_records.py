"""Claims of reports over the directory: one of many at once has it, lost answers and restarts included."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from evenshard.directory.keys import reports_of, tenant_key
from evenshard.directory.placement import even_placement
from evenshard.directory.report_record import CLAIM_S, ReportRecord
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.ports.directory import Put
from evenshard.router.report_records import ReportRecords
from evenshard.testing.call import in_call
from evenshard.testing.clock import ManualClock
from evenshard.testing.directory import MemoryDirectory
from evenshard.testing.rng import SeededRng

ACME, WEEK = TenantId("acme"), "2026-W47"
DIRECTORY_CLOCK = ManualClock()


@pytest.fixture
async def directory() -> AsyncIterator[MemoryDirectory]:
    made = MemoryDirectory(DIRECTORY_CLOCK)
    record = Tenant(ACME, TenantSettings(), even_placement([ShardId("shard-0")]), "n")
    await made.swap([], [Put(tenant_key(ACME), record.to_json())])
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def call() -> Iterator[None]:
    with in_call("trace"):
        yield


async def test_of_many_that_claim_at_once_one_has_it(directory: MemoryDirectory) -> None:
    clock = ManualClock()
    routers = [ReportRecords(directory, clock, SeededRng(seed)) for seed in range(8)]
    claims = [asyncio.ensure_future(each.claim(ACME, WEEK, f"claimant-{at}")) for at, each in enumerate(routers)]
    while not all(claim.done() for claim in claims):
        await clock.advance(100)
    answers = [claim.result() for claim in claims]
    assert sum(mine for mine, _ in answers) == 1
    holder = next(record.claimant for mine, record in answers if mine)
    assert {record.claimant for _, record in answers} == {holder}
    outcome = ReportRecord(ACME, WEEK, "sent", holder, 0, attempts=1)
    assert (await routers[0].record(outcome)).state == "sent"
    assert (await routers[1].record(outcome)).attempts == 1
    for at, each in enumerate(routers):
        assert await each.claim(ACME, WEEK, f"claimant-{at}") == (False, await routers[0].record(outcome))


async def test_a_claim_is_per_week_and_lapses_by_the_directorys_clock_alone(directory: MemoryDirectory) -> None:
    """Routers whose clocks differ by an hour agree on who has it."""
    clock, ahead = ManualClock(), ManualClock()
    ahead.jump_wall(3_600_000)
    records, other = ReportRecords(directory, clock, SeededRng(1)), ReportRecords(directory, ahead, SeededRng(2))
    assert (await records.claim(ACME, WEEK, "a"))[0]
    assert (await records.claim(ACME, WEEK, "a"))[0]  # as one whose answer was lost
    await clock.advance(3_600_000)
    assert not (await records.claim(ACME, WEEK, "b"))[0]
    assert not (await other.claim(ACME, WEEK, "b"))[0]
    assert (await other.claim(ACME, "2026-W48", "b"))[0]
    await DIRECTORY_CLOCK.advance(1000 * CLAIM_S + 1)
    assert (await other.claim(ACME, WEEK, "b"))[0]
    with pytest.raises(EvenshardError, match="OPERATION_CONFLICT"):
        await records.record(ReportRecord(ACME, WEEK, "sent", "a", 0))
    assert (await records.record(ReportRecord(ACME, WEEK, "failed", "b", 0))).state == "failed"
    assert (await records.claim(ACME, WEEK, "a"))[0]  # what has failed is free at once


async def test_records_of_the_oldest_weeks_are_forgotten(directory: MemoryDirectory) -> None:
    records = ReportRecords(directory, ManualClock(), SeededRng(1))
    weeks = [f"{year}-W{week:02}" for year in (2025, 2026) for week in range(1, 53)]
    for week in weeks:
        assert (await records.claim(ACME, week, "a"))[0]
    kept = (await directory.range(reports_of(ACME))).entries
    assert [entry.key.rsplit("/", 1)[1] for entry in kept] == weeks[-60:]


@pytest.mark.parametrize(
    ("tenant", "week", "claimant", "code"),
    [
        ("nobody", WEEK, "a", "TENANT_NOT_FOUND"), ("../x", WEEK, "a", "TENANT_NAME_INVALID"),
        ("acme", "2026-47", "a", "RANGE_INVALID"), ("acme", "2026-W54", "a", "RANGE_INVALID"),
        ("acme", "2026-W00", "a", "RANGE_INVALID"), ("acme", WEEK, "", "QUERY_INVALID"),
        ("acme", WEEK, "a" * 129, "QUERY_INVALID"),
    ],
)  # fmt: skip
async def test_what_cannot_be_claimed(
    directory: MemoryDirectory, tenant: str, week: str, claimant: str, code: str
) -> None:
    records = ReportRecords(directory, ManualClock(), SeededRng(1))
    with pytest.raises(EvenshardError) as refused:
        await records.claim(tenant, week, claimant)
    assert refused.value.code == code
