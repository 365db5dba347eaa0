"""Shards work no longer than a tenth of a second for a question that was cancelled, or whose time is up, whatever its
kind: by their processor time, which others' load does not change."""

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import evenshard
import pyarrow as pa
import pytest
from evenshard.client import AsyncClient, connect_async
from evenshard.errors import EvenshardError
from evenshard.testing.bench.generator import FROM_DATE, TO_DATE, sessions_of
from evenshard.testing.processes import ClusterProcess

EVENTS, BATCH_ROWS = 6_000_000, 50_000
SEED = 20_261_127
STATED_S = 0.1
"""Of processor time, of a shard, behind the moment when nobody waits any more."""
LONG_S = 0.25
"""What a question takes of all shards that shows anything."""
BEGUN_S = 0.1
"""Of processor time: the question is being worked on."""
IDLE_LOOK_S = 0.2
SHARDS = ("shard-0", "shard-1")
DAYS = {"from_date": FROM_DATE, "to_date": TO_DATE, "no_cache": True}
_times = itertools.count(2)
"""So that no cohort's users are known from before."""
Ask = Callable[[AsyncClient, float], Awaitable[Any]]
ASKED: dict[str, Ask] = {
    "segmentation": lambda client, timeout: client.segmentation(
        measure="unique", unit="minute", by=["page", "event"], timeout=timeout, **DAYS
    ),
    "median": lambda client, timeout: client.segmentation(
        measure="p50", property="amount", by="country", timeout=timeout, **DAYS
    ),
    "funnel": lambda client, timeout: client.funnel(
        ["*"] * 8, order="any", count="total", by=["country", "page"], hold="page", timeout=timeout, **DAYS
    ),
    "retention": lambda client, timeout: client.retention(
        "*", "*", by=["country", "page"], birth_scope="lifetime", where='page != "x"', timeout=timeout, **DAYS
    ),
    "flows": lambda client, timeout: client.flows("*", steps=10, window="session", timeout=timeout, **DAYS),
    "schema": lambda client, timeout: client.schema(timeout=timeout, **DAYS),
    "cohort": lambda client, timeout: client.save_cohort(
        "some", from_date=FROM_DATE, to_date=TO_DATE, did="*", at_least=next(_times), timeout=timeout
    ),
}


class Processors:
    """The processor time of some processes."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids

    def spent_s(self) -> float:
        """Of all, so far."""
        ticks = 0
        for pid in self._pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    async def until_busy(self, spent_s: float) -> None:
        """Until so much was spent from now on."""
        start_s = self.spent_s()
        async with asyncio.timeout(60):
            while self.spent_s() < start_s + spent_s:  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.005)

    async def until_idle(self) -> float:
        """Until nothing is spent for a while; the last sum that was."""
        spent_s = -1.0
        async with asyncio.timeout(60):
            while self.spent_s() > spent_s + 0.02:
                spent_s = self.spent_s()
                await asyncio.sleep(IDLE_LOOK_S)
        return self.spent_s()


async def cancelled(client: AsyncClient, ask: Ask, shards: Processors) -> float:
    """How much shards spent after the asker went."""
    asking = asyncio.create_task(ask(client, 600))
    await shards.until_busy(BEGUN_S)
    asking.cancel()
    left_s = shards.spent_s()
    with pytest.raises(asyncio.CancelledError):
        await asking
    return await shards.until_idle() - left_s


async def timed_out(client: AsyncClient, ask: Ask, shards: Processors, timeout_s: float) -> float:
    """How much shards spent after the time was up."""
    started_s = time.monotonic()
    asking = asyncio.create_task(ask(client, timeout_s))
    await asyncio.sleep(timeout_s - (time.monotonic() - started_s))
    left_s = shards.spent_s()
    with pytest.raises(EvenshardError) as failed:
        await asking
    assert failed.value.code in ("DEADLINE_EXCEEDED", "SHARD_UNAVAILABLE")
    return await shards.until_idle() - left_s


def records() -> pa.RecordBatchReader:
    schema = sessions_of(SEED, 0, 1, of=EVENTS).schema
    batches = (sessions_of(SEED, first, BATCH_ROWS, of=EVENTS) for first in range(0, EVENTS, BATCH_ROWS))
    return pa.RecordBatchReader.from_batches(schema, batches)


async def ask_and_leave(cluster: ClusterProcess) -> dict[str, tuple[float, ...]]:
    """Of each kind what shards spend on it, and what they go on spending."""
    shards = Processors([cluster.pid(name) for name in SHARDS])
    found = {}
    async with connect_async(cluster.router, cluster.gateway, tenant="acme") as client:
        for kind, ask in ASKED.items():
            before_s = await shards.until_idle()
            with contextlib.suppress(EvenshardError):  # to find that an answer is too large is as much work
                await ask(client, 600)
            whole_s = await shards.until_idle() - before_s
            gone_s = await cancelled(client, ask, shards)
            late_s = await timed_out(client, ask, shards, timeout_s=0.2)
            found[kind] = (whole_s, gone_s, late_s)
            print(f"{kind}: {whole_s:.2f} s of processor time; {gone_s:.2f} s cancelled, {late_s:.2f} s timed out")
    return found


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1200)
def test_shards_work_at_most_a_tenth_of_a_second_for_nobody(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    with ClusterProcess(tmp_path / "c") as cluster:
        with evenshard.connect(cluster.router, cluster.gateway, tenant="acme", timeout=600) as client:
            client.create_tenant("acme")
            assert client.import_table(records()).accepted == EVENTS
            client.compact("acme", wait=True, timeout=600)
        found = asyncio.run(ask_and_leave(cluster))
        bound_s = STATED_S * len(SHARDS)
        assert {kind: spent for kind, spent in found.items() if max(spent[1:]) > bound_s} == {}
        assert {kind: spent for kind, spent in found.items() if spent[0] < LONG_S} == {}
