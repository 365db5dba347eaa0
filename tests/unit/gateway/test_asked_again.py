"""A question asked again: answered from what is known while nothing has changed, and never otherwise."""

import random
from typing import Any

import pytest
from evenshard.api.v1 import query_pb2
from evenshard.errors import EvenshardError
from evenshard.gateway import service
from evenshard.gateway.lru import Lru
from evenshard.ids import Epoch
from evenshard.runtime.settings import Settings
from evenshard.testing.gateway_world import TENANT, GatewayWorld
from evenshard.testing.reference import Row

START_MS = 1_704_067_200_000  # 2024-01-01
HOUR_MS = 3_600_000
RANGE = {"from_date": "2024-01-01", "to_date": "2024-01-07"}
STEPS = ["view", "buy"]


def rows(chance: random.Random, count: int) -> list[Row]:
    return [
        {
            "tenant": TENANT,
            "event": chance.choice(["view", "buy"]),
            "distinct_id": f"user-{chance.randrange(12)}",
            "time": START_MS + chance.randrange(7 * 24) * HOUR_MS,
            "insert_id": f"{chance.randrange(40)}",
            "properties": {"plan": chance.choice([None, 1, "x"])},
        }
        for _ in range(count)
    ]


def without_account(response: Any) -> bytes:
    plain = type(response)()
    plain.CopyFrom(response)
    plain.ClearField("meta")
    return plain.SerializeToString(deterministic=True)


@pytest.mark.parametrize("seed", range(8))
async def test_what_is_known_never_changes_an_answer(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    hits = 0
    async with GatewayWorld(shard_count=3) as world:
        epoch = 1
        for _ in range(90):
            match chance.randrange(8):
                case 0 | 1:
                    world.add(rows(chance, chance.randrange(1, 6)))
                case 2:
                    chance.choice(list(world.shards.values())).incarnation += 1
                case 3 if chance.random() < 0.3:
                    epoch += 1
                    for shard in world.shards.values():
                        shard.epoch = epoch
                    await world.put_tenant(Epoch(epoch))
                case _:
                    ask: Any = world.funnel
                    what: Any = STEPS
                    asked: dict[str, Any] = {"window_ms": chance.choice([1, 20]) * HOUR_MS, **RANGE}
                    kind = chance.randrange(4)
                    if kind == 1:
                        ask, what = world.flows, "view"
                    elif kind == 2:
                        ask, what, asked = world.retention, "view", {"buckets": 2, **RANGE}
                    if kind != 1:
                        asked["by"] = chance.choice([[], ["plan"]])
                    found = await ask(what, **asked)
                    anew = await ask(what, **asked, options=query_pb2.QueryOptions(no_cache=True))
                    assert without_account(found) == without_account(anew)
                    assert anew.meta.cache == "miss"
                    assert found.meta.duplicates_skipped == anew.meta.duplicates_skipped
                    assert found.meta.data_version == anew.meta.data_version
                    hits += found.meta.cache == "hit"
    assert hits > 3


async def test_a_repeated_question_costs_a_look_at_each_shards_version() -> None:
    async with GatewayWorld(shard_count=2) as world:
        world.add(rows(random.Random(1), 50))
        first = await world.funnel(STEPS, **RANGE)
        again = await world.funnel(STEPS, **RANGE)
        assert (first.meta.cache, again.meta.cache) == ("miss", "hit")
        assert first.meta.rows_scanned > 0
        assert (again.meta.rows_scanned, again.meta.bytes_scanned) == (0, 0)
        assert [shard.unchanged for shard in world.shards.values()] == [1, 1]
        assert without_account(first) == without_account(again)


async def test_one_changed_shard_is_read_again_and_the_others_are_not() -> None:
    async with GatewayWorld(shard_count=3) as world:
        world.add(rows(random.Random(2), 50))
        await world.funnel(STEPS, **RANGE)
        world.add(rows(random.Random(3), 1))
        again = await world.funnel(STEPS, **RANGE)
        assert again.meta.cache == "miss"
        assert sorted(shard.unchanged for shard in world.shards.values()) == [0, 1, 1]


async def test_what_was_known_before_a_move_is_not_believed_after_it() -> None:
    async with GatewayWorld(shard_count=2) as world:
        world.add(rows(random.Random(5), 50))
        one, two = world.shards.values()
        await world.funnel(STEPS, **RANGE)
        # Slots move without a write: the rows a shard answers for are others now, though it has stored nothing new.
        two.rows, one.rows = [*two.rows, *one.rows], []
        one.epoch = two.epoch = 2
        await world.put_tenant(Epoch(2))
        two.writes += 1
        found = await world.funnel(STEPS, **RANGE)
        anew = await world.funnel(STEPS, **RANGE, options=query_pb2.QueryOptions(no_cache=True))
        assert without_account(found) == without_account(anew)


async def test_nothing_is_kept_where_nothing_may_be() -> None:
    async with GatewayWorld(shard_count=2, limits=Settings(gateway_cache_bytes=0)) as world:
        world.add(rows(random.Random(4), 50))
        await world.funnel(STEPS, **RANGE)
        assert (await world.funnel(STEPS, **RANGE)).meta.cache == "miss"


@pytest.mark.parametrize("seed", range(20))
def test_what_is_kept_is_what_was_used_last_and_fits(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    kept: Lru[int, int] = Lru(100)
    model: list[tuple[int, int, int]] = []  # key, value, size; used last at the end
    for value in range(300):
        key = chance.randrange(12)
        if chance.random() < 0.5:
            entry = next((each for each in model if each[0] == key), None)
            assert kept.get(key) == (entry[1] if entry else None)
            if entry:
                model.remove(entry)
                model.append(entry)
        else:
            size = chance.randrange(40)
            kept.put(key, value, size)
            model = [each for each in model if each[0] != key]
            if size <= 25:
                model.append((key, value, size))
            while sum(each[2] for each in model) > 100:
                model.pop(0)
        assert (len(kept), kept.bytes) == (len(model), sum(each[2] for each in model))


async def test_a_request_that_comes_again_is_not_read_again_and_a_wrong_one_is_refused_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []
    monkeypatch.setattr(service, "refuse_unknown", lambda request: read.append(type(request).__name__))
    async with GatewayWorld() as world:
        world.add(rows(random.Random(1), 20))
        for _ in range(3):
            await world.funnel(STEPS, **RANGE)
        assert read == ["QueryFunnelRequest"]
        await world.funnel(STEPS, **RANGE, limit=3)
        await world.segmentation(**RANGE)
        assert read == ["QueryFunnelRequest", "QueryFunnelRequest", "QuerySegmentationRequest"]
        for _ in range(2):
            with pytest.raises(EvenshardError) as caught:
                await world.funnel(["view"], **RANGE)
            assert caught.value.code == "QUERY_INVALID"
        assert len(read) == 5


@pytest.mark.parametrize("kind", ["segmentation", "funnel", "retention", "flows"])
async def test_names_nobody_has_are_told_each_time_until_somebody_has_them(kind: str) -> None:
    async with GatewayWorld() as world:
        world.add(rows(random.Random(1), 20))

        async def ask() -> tuple[str, list[tuple[str, str]]]:
            match kind:
                case "segmentation":
                    answer: Any = await world.segmentation(events=["byu"], **RANGE)
                case "funnel":
                    answer = await world.funnel(["view", "byu"], **RANGE)
                case "retention":
                    answer = await world.retention("view", "byu", buckets=2, **RANGE)
                case _:
                    answer = await world.flows("byu", **RANGE)
            return answer.meta.cache, [(each.code, each.message.partition(";")[2]) for each in answer.meta.warnings]

        told = [("UNKNOWN_EVENT", " is 'buy' meant?")]
        assert [await ask() for _ in range(3)] == [("miss", told), ("hit", told), ("hit", told)]
        world.add([{**rows(random.Random(1), 1)[0], "event": "byu"}])
        assert [await ask() for _ in range(2)] == [("miss", []), ("hit", [])]
