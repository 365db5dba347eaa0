"""Dealing rows out to shards and packing them into requests."""

import numpy as np
import pyarrow as pa
from evenshard.directory.placement import Placement, SlotRange, even_placement, with_overflow
from evenshard.events.batch import EventBatch, schema_of
from evenshard.events.hashing import SLOT_COUNT, hash_events, slots_of, spread_hashes
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.router.packing import pack
from evenshard.router.partition import Part, deal
from hypothesis import given, settings
from hypothesis import strategies as st

TENANT = TenantId("t")
EPOCH = Epoch(7)


def batch_of(ids: list[str]) -> EventBatch:
    rows = len(ids)
    columns = [
        pa.array([f"event-{row % 3}" for row in range(rows)], pa.utf8()).dictionary_encode(),
        pa.array(ids, pa.utf8()),
        pa.array(np.arange(rows) + 1_700_000_000_000),
        pa.array([None if row % 5 == 0 else f"insert-{row}" for row in range(rows)], pa.utf8()),
        pa.array([row if row % 2 else None for row in range(rows)], pa.int64()),
        pa.array([f"text-{row}" * (row % 4) for row in range(rows)], pa.utf8()),
    ]
    return EventBatch(pa.RecordBatch.from_arrays(columns, schema=schema_of(["i:number", "s:text"])))


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    cuts = sorted(draw(st.sets(st.integers(1, SLOT_COUNT - 1), max_size=12)))
    bounds = [0, *cuts, SLOT_COUNT]
    shards = [ShardId(f"shard-{draw(st.integers(0, 3))}") for _ in bounds[1:]]
    ranges = [SlotRange(bounds[i], bounds[i + 1] - 1, shard) for i, shard in enumerate(shards)]
    return Placement(EPOCH, tuple(ranges))


def as_dealt(parts: list[Part]) -> dict[str, list[tuple[int, dict[str, object]]]]:
    """Per shard: (position, row) in order."""
    dealt: dict[str, list[tuple[int, dict[str, object]]]] = {}
    for part in parts:
        rows = zip(part.positions.tolist(), part.batch.record.to_pylist(), strict=True)
        dealt.setdefault(part.shard, []).extend(rows)
    return dealt


IDS = st.lists(st.one_of(st.just(""), st.text(max_size=6), st.sampled_from(["a", "b"])), max_size=80)


def expected(batch: EventBatch, positions: list[int], placement: Placement) -> dict[str, list[object]]:
    slots = slots_of(hash_events(TENANT, batch).placement)
    owners: dict[str, list[object]] = {}
    for row, slot, position in zip(batch.record.to_pylist(), slots.tolist(), positions, strict=True):
        owner = next(piece.shard for piece in placement.slots if piece.first <= slot <= piece.last)
        owners.setdefault(owner, []).append((position, row))
    return owners


@settings(max_examples=200)
@given(IDS.map(batch_of), placements(), st.integers(1, 5))
def test_every_row_goes_once_to_the_owner_of_its_slot_in_order(
    batch: EventBatch, placement: Placement, stride: int
) -> None:
    positions = np.arange(batch.rows, dtype=np.int64) * stride
    parts = deal(TENANT, batch, positions, hash_events(TENANT, batch).placement, placement)
    assert as_dealt(parts) == expected(batch, positions.tolist(), placement)
    assert {(part.tenant, part.epoch) for part in parts} <= {(TENANT, EPOCH)}
    for part in parts:
        assert part.placement.tolist() == hash_events(TENANT, part.batch).placement.tolist()


def test_a_batch_for_one_shard_is_not_copied() -> None:
    batch = batch_of(["a", "b", "c"])
    hashes = hash_events(TENANT, batch).placement
    (part,) = deal(TENANT, batch, np.arange(3), hashes, even_placement([ShardId("shard-0")], EPOCH))
    assert part.batch is batch


@settings(max_examples=100)
@given(st.lists(IDS.map(batch_of), max_size=4), placements(), st.integers(600, 20_000))
def test_requests_hold_every_row_once_and_stay_below_the_limit(
    batches: list[EventBatch], placement: Placement, bytes_max: int
) -> None:
    parts = []
    for number, batch in enumerate(batches):
        tenant = TenantId(f"t{number % 2}")
        positions = np.arange(batch.rows, dtype=np.int64) + 1000 * number
        parts.extend(deal(tenant, batch, positions, hash_events(tenant, batch).placement, placement))
    requests = pack(parts, bytes_max)
    packed = [part for request in requests for part in request.parts]
    assert as_dealt(packed) == as_dealt(parts)
    for request in requests:
        tenants = [part.tenant for part in request.parts]
        assert tenants
        assert len(set(tenants)) == len(tenants)
        assert {part.shard for part in request.parts} == {request.shard}
        sizes = []
        for part, sent in zip(request.parts, request.message.batches, strict=True):
            assert (sent.tenant, sent.epoch) == (part.tenant, part.epoch)
            assert EventBatch.from_ipc(sent.arrow_ipc).record.to_pylist() == part.batch.record.to_pylist()
            sizes.append(len(sent.arrow_ipc))
        assert sum(sizes) <= bytes_max or [part.rows for part in request.parts] == [1]


def test_a_piece_of_a_batch_carries_only_its_own_event_names() -> None:
    rows = 400
    names = pa.array([f"{row:04d}" * 50 for row in range(rows)]).dictionary_encode()
    record = batch_of(["u"] * rows).record
    batch = EventBatch(pa.RecordBatch.from_arrays([names, *record.columns[1:]], schema=record.schema))
    placement = even_placement([ShardId("shard-0")], EPOCH)
    parts = deal(TENANT, batch, np.arange(rows), hash_events(TENANT, batch).placement, placement)
    requests = pack(parts, 20_000)
    sizes = [len(request.message.batches[0].arrow_ipc) for request in requests]
    assert max(sizes) <= 20_000
    assert len(requests) <= 16


def test_rows_that_are_spread_go_by_their_identity_over_the_overflow() -> None:
    rows = batch_of([f"user-{number % 17}" for number in range(200)])
    hashes = hash_events(TENANT, rows)
    shards = [ShardId("shard-0"), ShardId("shard-1")]
    placed = with_overflow(even_placement(shards), TENANT, [ShardId("shard-7"), ShardId("shard-8")])
    spread = np.arange(200) % 2 == 0
    identities = spread_hashes(TENANT, rows, hashes.placement)
    parts = deal(TENANT, rows, np.arange(200), hashes.placement, placed, None, spread)
    assert [part.shard for part in parts] == [
        shard for shard in placed.shards if shard in {part.shard for part in parts}
    ]
    where = {position: part.shard for part in parts for position in part.positions.tolist()}
    for row in range(200):
        table = placed.shard_of_overflow_slot if spread[row] else placed.shard_of_slot
        slot = int((identities if spread[row] else hashes.placement)[row] >> np.uint64(52))
        assert where[row] == placed.shards[table[slot]]
    for part in parts:
        assert part.spread is not None
        assert part.spread.tolist() == spread[part.positions].tolist()
        assert part.epoch == placed.epoch == 2
        taken = rows.record.take(pa.array(part.positions))
        assert part.batch.record.equals(taken)
    # Where there is no overflow yet nothing is spread.
    plain = deal(TENANT, rows, np.arange(200), hashes.placement, even_placement(shards), None, spread)
    assert {part.shard for part in plain} <= set(shards)
