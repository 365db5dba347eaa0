"""A bit flipped on one shard of a cluster: queries are answered right or refused over it; with ``allow_partial`` they
are answered without what is damaged, exactly, and labelled incomplete.

Which bits, and what happened, derive from a seed. The model counts events by user; a user is on one shard.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_SHIFT, hash_events
from evenshard.ids import ShardId, TenantId
from evenshard.testing.cluster import MemoryCluster
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, event_batch

SEED = 3
FROM, TO = "2026-01-01", "2026-01-02"
START_MS = 1_767_225_600_000
HURT = ShardId("shard-1")
ACME = TenantId("acme")
DATABASE = "catalog.sqlite"
Answer = tuple[bool, Sequence[str], dict[str, int]]
"""Complete, the shards that are missing, events by user."""


def user_counts(tenant: Tenant, events: Sequence[Event], *, without: ShardId | None = None) -> dict[str, int]:
    """By user; without those whose home is a shard."""
    slots = np.asarray(hash_events(ACME, event_batch(events)).placement) >> SLOT_SHIFT
    homes = [tenant.placement.shards[number] for number in tenant.placement.shard_of_slot[slots]]
    return dict(Counter(event.distinct_id for event, home in zip(events, homes, strict=True) if home != without))


def bytes_of(disk: MemoryDisk) -> dict[str, bytes]:
    files = {name: bytes(inode.data) for name, inode in disk._names.items()}
    return {**files, DATABASE: disk._databases[DATABASE].serialize()}


def disk_of(content: dict[str, bytes]) -> MemoryDisk:
    disk = MemoryDisk()
    for name, data in content.items():
        if name != DATABASE:
            disk.open(name, create=True).write([data])
    source = sqlite3.connect(":memory:")
    source.deserialize(content[DATABASE])
    copy = disk.database(DATABASE)
    source.backup(copy)
    copy.close()
    source.close()
    return disk


async def asked(cluster: MemoryCluster, *, allow_partial: bool) -> Answer:
    answer = await cluster.segmentation(
        ACME, FROM, TO, by=["$distinct_id"], options={"allow_partial": allow_partial, "include_duplicates": True}
    )
    counts = {line.by[0].string_value: line.overall.int64_value for line in answer.series}
    return answer.meta.complete, list(answer.meta.missing_shards), counts


async def outcome(cluster: MemoryCluster, whole: dict[str, int], left: dict[str, int]) -> str:
    """How a query of a cluster with one flipped bit ends; fails where it is wrong."""
    try:
        plain = await asked(cluster, allow_partial=False)
    except EvenshardError as error:
        if error.code not in ("DATA_DAMAGED", "SHARD_UNAVAILABLE"):
            raise
        for _ in range(2):  # asked again, it is the same
            assert await asked(cluster, allow_partial=True) == (False, [HURT], left)
        return str(error.code)
    assert plain == (True, [], whole)
    assert await asked(cluster, allow_partial=True) == plain
    return "right"


async def flipped(seed: int, count: int) -> Counter[str]:
    random, outcomes = Random(seed), Counter[str]()
    events = [
        Event("view", f"user-{number % 40}", START_MS + number * 1000, f"event-{number}") for number in range(120)
    ]
    async with MemoryCluster(seed=seed) as cluster:
        tenant = await cluster.create_tenant(ACME)
        for first in range(0, len(events), 40):
            sent = event_batch(events[first : first + 40]).to_ipc()
            assert (await cluster.import_events(ACME, arrow_ipc=sent)).accepted == 40
            if first == 0:
                await cluster.compact(tenant)
        whole, left = user_counts(tenant, events), user_counts(tenant, events, without=HURT)
        assert 0 < len(left) < len(whole) == 40
        await cluster.stop(HURT)
        sound = bytes_of(cluster.disk(HURT))
        for number in range(count):
            name = sorted(sound)[number % len(sound)]
            hurt = bytearray(sound[name])
            at, bit = random.randrange(len(hurt)), random.randrange(8)
            hurt[at] ^= 1 << bit
            try:
                disk = disk_of({**sound, name: bytes(hurt)})
            except sqlite3.DatabaseError:  # SQLite will not copy it: on real files it is in test_flips.py
                outcomes["no database"] += 1
                continue
            cluster.put_disk(HURT, disk)
            try:
                await cluster.start(HURT)
            except EvenshardError as error:
                if error.code not in ("DATA_DAMAGED", "FORMAT_TOO_NEW"):
                    raise
                cluster.peers.unregister(HURT)
            try:
                outcomes[await outcome(cluster, whole, left)] += 1
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {name}, byte {at}, bit {bit}: {error}") from error
            await cluster.stop(HURT)
    print(f"seed {seed}: {dict(outcomes)}")
    return outcomes


async def test_over_a_flipped_bit_a_partial_answer_lacks_what_is_damaged_and_nothing_else() -> None:
    outcomes = await flipped(SEED, 40)
    assert outcomes.keys() == {"right", "DATA_DAMAGED", "SHARD_UNAVAILABLE"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10, 14))
async def test_over_many_flipped_bits_partial_answers_lack_what_is_damaged_and_nothing_else(seed: int) -> None:
    await flipped(seed, 300)
