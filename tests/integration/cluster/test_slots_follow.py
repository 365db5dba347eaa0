"""The calls of a move between shards of one process, driven by hand: followed, fenced, compared, switched, dropped."""

import io
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from evenshard.api.v1 import shard_pb2
from evenshard.directory.placement import Placement, SlotRange, even_placement
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId
from evenshard.testing.cluster import MemoryCluster
from evenshard.wire import rpcs

SHARD_0, SHARD_1, SHARD_2 = (ShardId(f"shard-{number}") for number in range(3))
START_MS = 1_767_225_600_000
DAY_MS = 86_400_000
LOW, ALL = [(0, 2047)], [(0, 4095)]


@pytest.fixture
async def cluster() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster(seed=7, shards=3) as made:
        yield made


def lines(numbers: range) -> bytes:
    rows = [
        {
            "event": "view",
            "properties": {
                "distinct_id": f"u{number % 50}",
                "time": START_MS + number + number % 4 * DAY_MS,
                "$insert_id": f"{number}",
                "n": number,
            },
        }
        for number in numbers
    ]
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


class Driver:
    """Asks shards as the driver of a move does."""

    def __init__(self, cluster: MemoryCluster, slots: list[tuple[int, int]], source: ShardId, target: ShardId) -> None:
        self.cluster = cluster
        self.slots = slots
        self.source = source
        self.target = target
        self.revision = 10
        self.epoch = 1

    @property
    def moved(self) -> shard_pb2.MovedSlots:
        spans = [shard_pb2.SlotSpan(first=first, last=last) for first, last in self.slots]
        return shard_pb2.MovedSlots(tenant="acme", operation="op", revision=self.revision, slots=spans)

    async def follow(self, from_position: int | None = None) -> shard_pb2.FollowSlotsResponse:
        request = shard_pb2.FollowSlotsRequest(
            moved=self.moved,
            epoch=self.epoch,
            source=self.source,
            source_address=self.source,
            from_position=from_position,
        )
        found: shard_pb2.FollowSlotsResponse = await self.cluster.call(self.target, rpcs.FOLLOW_SLOTS, request)
        return found

    async def until_caught_up(self, position: int = 0) -> None:
        async def caught_up() -> bool:
            now = await self.follow()
            assert now.error_code in ("", "UNREACHABLE", "SHARD_UNAVAILABLE"), now
            return now.phase == shard_pb2.FOLLOW_PHASE_CATCHING_UP and now.lag_rows == 0 and now.position >= position

        await self.cluster.until(caught_up)

    async def fence(self) -> int:
        request = shard_pb2.FenceSlotsRequest(moved=self.moved, epoch=self.epoch)
        return int((await self.cluster.call(self.source, rpcs.FENCE_SLOTS, request)).position)

    async def digest(self, shard: ShardId, position: int | None) -> Any:
        request = shard_pb2.GetDigestRequest(moved=self.moved, position=position, with_cells=True)
        return await self.cluster.call(shard, rpcs.GET_DIGEST, request)

    async def hand_over(self) -> int:
        """Fences, compares and switches; where the follower's own log ended."""
        for shard in (self.source, self.target):

            async def counted(shard: ShardId = shard) -> bool:
                return bool((await self.digest(shard, None)).ready)

            await self.cluster.until(counted)
        self.revision += 1
        position = await self.fence()
        await self.until_caught_up(position)
        mine, other = await self.digest(self.source, position), await self.digest(self.target, position)
        assert (mine.rows, mine.digest, mine.digest_high, mine.state_digest) == (
            other.rows,
            other.digest,
            other.digest_high,
            other.state_digest,
        )
        assert mine.cells == other.cells
        await self.switch()
        self.source, self.target = self.target, self.source
        return int(other.log_position)

    async def switch(self) -> None:
        tenant = await self.cluster.tenant("acme")
        table = []
        for piece in tenant.placement.slots:
            for slot in range(piece.first, piece.last + 1):
                moved = any(first <= slot <= last for first, last in self.slots)
                table.append(self.target if moved else piece.shard)
        ranges: list[SlotRange] = []
        for slot, shard in enumerate(table):
            if ranges and ranges[-1].shard == shard:
                ranges[-1] = SlotRange(ranges[-1].first, slot, shard)
            else:
                ranges.append(SlotRange(slot, slot, shard))
        self.epoch += 1
        self.revision += 1
        await self.cluster.put_tenant(replace(tenant, placement=Placement(Epoch(self.epoch), tuple(ranges))))

    async def end(self) -> None:
        for shard in (self.source, self.target):
            await self.cluster.call(shard, rpcs.END_FOLLOWING, shard_pb2.EndFollowingRequest(moved=self.moved))

    async def drop(self, shard: ShardId) -> int:
        request = shard_pb2.DropSlotsRequest(moved=self.moved, epoch=self.epoch)
        return int((await self.cluster.call(shard, rpcs.DROP_SLOTS, request)).rows)


async def exported(cluster: MemoryCluster) -> list[dict[str, Any]]:
    payload = await cluster.export("acme", START_MS, START_MS + 10 * DAY_MS, include_duplicates=True)
    rows = [orjson.loads(line) for line in io.BytesIO(payload)]
    return sorted(rows, key=lambda row: (row["properties"]["n"], row.get("duplicate", False)))


async def test_slots_go_to_another_shard_and_back(cluster: MemoryCluster) -> None:
    tenant = await cluster.create_tenant("acme", placement=even_placement([SHARD_0]))
    await cluster.import_events("acme", ndjson=lines(range(400)))
    await cluster.compact(tenant)
    await cluster.import_events("acme", ndjson=lines(range(380, 500)))
    before = await exported(cluster)
    assert len(before) == 520
    driver = Driver(cluster, LOW, SHARD_0, SHARD_2)
    await driver.follow()
    await driver.until_caught_up()
    await cluster.import_events("acme", ndjson=lines(range(500, 600)))
    await cluster.crash(SHARD_2)
    await cluster.start(SHARD_2)
    position = await driver.hand_over()
    after = await exported(cluster)
    assert len(after) == 620
    assert [row for row in after if row["properties"]["n"] < 500] == before
    assert (await cluster.import_events("acme", ndjson=lines(range(600)))).duplicates == 600
    await driver.follow(position)
    await cluster.import_events("acme", ndjson=lines(range(600, 700)))
    await driver.until_caught_up()
    await cluster.crash(SHARD_0)
    await cluster.start(SHARD_0)
    expected = await exported(cluster)
    await driver.hand_over()
    assert await exported(cluster) == expected
    assert (await cluster.import_events("acme", ndjson=lines(range(700)))).duplicates == 700
    await driver.end()
    assert await driver.drop(SHARD_2) > 0
    assert len(await exported(cluster)) == len(expected) + 700


async def test_a_whole_tenant_goes_as_files(cluster: MemoryCluster) -> None:
    tenant = await cluster.create_tenant("acme", placement=even_placement([SHARD_0]))
    for start in range(0, 2_000, 500):
        await cluster.import_events("acme", ndjson=lines(range(start, start + 500)))
        await cluster.compact(tenant)
    expected = await exported(cluster)
    driver = Driver(cluster, ALL, SHARD_0, SHARD_1)
    await driver.follow()
    await driver.until_caught_up()
    progress = await driver.follow()
    assert progress.rows_done == 2_000
    assert progress.bytes_done == progress.bytes_total > 0
    await driver.hand_over()
    assert await exported(cluster) == expected
    await driver.end()
    assert await driver.drop(SHARD_0) == 2_000


async def test_what_a_shard_refuses(cluster: MemoryCluster) -> None:
    await cluster.create_tenant("acme", placement=even_placement([SHARD_0]))
    await cluster.import_events("acme", ndjson=lines(range(100)))
    driver = Driver(cluster, LOW, SHARD_0, SHARD_1)

    async def refusal(call: Any) -> str:
        with pytest.raises(EvenshardError) as caught:
            await call
        return caught.value.code

    assert await refusal(driver.drop(SHARD_0)) == "OPERATION_STATE"  # it owns them
    assert await refusal(driver.digest(SHARD_1, 5)) == "OPERATION_STATE"
    backwards = Driver(cluster, LOW, SHARD_1, SHARD_0)
    assert await refusal(backwards.follow()) == "OPERATION_STATE"
    assert await refusal(backwards.fence()) == "OPERATION_STATE"
    await driver.follow()
    await driver.until_caught_up()
    await driver.fence()
    driver.revision = 9
    for call in (driver.fence(), driver.follow(), driver.digest(SHARD_0, 100), driver.end()):
        assert await refusal(call) == "OPERATION_CONFLICT"
    driver.revision, driver.slots = 11, ALL
    assert await refusal(driver.fence()) == "OPERATION_CONFLICT"
    driver.slots = [(5, 4)]
    assert await refusal(driver.fence()) == "PAYLOAD_INVALID"
    driver.slots, driver.epoch = LOW, 9
    assert await refusal(driver.fence()) == "STALE_EPOCH"
