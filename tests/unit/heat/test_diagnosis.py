"""Loads and keys in, diagnoses out: one hot key, many warm ones, both, neither."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from evenshard.hotkeys.diagnosis import Diagnosis, KeyLoad, ShardLoad, diagnose, skew


def shard(name: str, events: float = 0.0, keys: Sequence[KeyLoad] = (), busy: float = 0.0) -> ShardLoad:
    return ShardLoad(name, events, 0.0, None, busy, None, 0, keys)


def key(name: str, events: float = 0.0, busy: float = 0.0, mode: str = "") -> KeyLoad:
    return KeyLoad("acme", name, events, busy, mode)


def found(*shards: ShardLoad) -> list[tuple[str, str, str, str]]:
    return [(each.kind, each.subject, each.shard, each.dimension) for each in diagnose(shards)]


def test_a_runaway_is_a_hot_key_and_no_hot_shard() -> None:
    runaway = shard("shard-2", 7_000, [key("runaway", 6_000, mode="observe"), key("calm", 30)])
    others = [shard(f"shard-{number}", 1_000) for number in (0, 1, 3)]
    assert diagnose([*others, runaway]) == [
        Diagnosis(
            kind="hot_key",
            subject="runaway",
            evidence=(
                "shard-2: 7,000 events/s stored, 7.0 × the mean of the other shards (1,000 events/s stored), 0 bytes "
                "wait; 85.7 % of that is 'runaway' of tenant acme: without it 1,000 events/s stored"
            ),
            advice=(
                "one hot key 'runaway' on shard-2: caching or salting helps, no split does; its mark says observe, and "
                "keeps that for its day: let the tenant spread the keys of other days (evenshard admin set-tenant acme "
                "--hot-key-mode salt), and stop what sends it"
            ),
            shard="shard-2",
            tenant="acme",
            distinct_id="runaway",
            dimension="writes",
        )
    ]


def test_many_warm_keys_are_a_hot_shard_and_no_hot_key() -> None:
    warm = shard("shard-0", 8_000, [key(f"u{number}", 40) for number in range(20)])
    [one] = diagnose([warm, shard("shard-1", 900), shard("shard-2", 1_100)])
    assert (one.kind, one.subject, one.tenant, one.distinct_id) == ("hot_shard", "shard-0", None, None)
    assert one.advice.startswith("shard-0 is hot over many warm keys: rebalance")
    assert "8.0 × the mean of the other shards" in one.evidence
    assert "'u0' of tenant acme, is 0.5 % of that" in one.evidence


def test_a_hot_key_on_a_shard_that_is_hot_without_it_is_both() -> None:
    both = shard("shard-1", 9_000, [key("runaway", 4_000), key("calm", 10)])
    assert found(both, shard("shard-0", 1_000)) == [
        ("hot_key", "runaway", "shard-1", "writes"),
        ("hot_shard", "shard-1", "shard-1", "writes"),
    ]
    assert {each.advice.split(":")[0] for each in diagnose([both, shard("shard-0", 1_000)])} == {
        "one hot key 'runaway' on shard-1",
        "shard-1 is besides its hot keys hot over many warm keys",
    }


def test_a_large_key_that_a_rebalance_could_carry_is_not_called_hot() -> None:
    """A quarter of its shard, and half of what another shard has: moving other slots away evens the load."""
    assert found(shard("shard-0", 2_200, [key("big", 550)]), shard("shard-1", 1_000)) == [
        ("hot_shard", "shard-0", "shard-0", "writes")
    ]


@pytest.mark.parametrize("events", [0.0, 10.0, 49.0])
def test_next_to_no_load_is_not_hot(events: float) -> None:
    assert found(shard("shard-0", events, [key("only", events)]), shard("shard-1")) == []


def test_a_key_on_a_shard_whose_others_are_idle_is_hot_only_where_it_is_much_of_the_load() -> None:
    idle = shard("shard-1")
    assert found(shard("shard-0", 5_000, [key("only", 4_900)]), idle) == [("hot_key", "only", "shard-0", "writes")]
    assert found(shard("shard-0", 5_000, [key("one of many", 100)]), idle) == [
        ("hot_shard", "shard-0", "shard-0", "writes")
    ]


def test_a_single_shard_and_even_ones_are_not_hot() -> None:
    alone = shard("shard-0", 50_000, [key("runaway", 40_000)])
    assert found(alone) == []
    assert found(alone, replace(alone, shard="shard-1")) == []
    assert found() == []


def test_reads_are_judged_by_the_time_their_scans_take() -> None:
    celebrity = shard("shard-0", 100, [key("celebrity", busy=0.7)], busy=0.8)
    [one] = diagnose([celebrity, shard("shard-1", 100, busy=0.05)])
    assert (one.kind, one.subject, one.dimension) == ("hot_key", "celebrity", "reads")
    assert "80 % of a core in scans, 16.0 × the mean of the other shards (5 % of a core in scans)" in one.evidence
    assert "the gateway's cache answers" in one.advice
    assert found(shard("shard-0", busy=0.8, keys=[key("one", busy=0.01)]), shard("shard-1", busy=0.05)) == [
        ("hot_shard", "shard-0", "shard-0", "reads")
    ]


def test_what_to_do_follows_the_mark() -> None:
    advised = [
        diagnose([shard("shard-0", 900, [key("k", 800, mode=mode)]), shard("shard-1", 100)])[0].advice
        for mode in ("", "observe", "rewrite")
    ]
    assert [text.rsplit("; ", 1)[1][:28] for text in advised] == [
        "it is below its tenant's thr",
        "its mark says observe, and k",
        "it has just been marked, and",
    ]


def test_the_heaviest_comes_first_and_twice_is_the_same() -> None:
    shards = [
        shard("shard-0", 3_000, [key("a", 2_900)]),
        shard("shard-1", 30_000, [key("b", 29_000)]),
        *(shard(f"shard-{number}", 100) for number in range(2, 30)),
    ]
    assert found(*shards) == [
        ("hot_key", "b", "shard-1", "writes"),
        ("hot_key", "a", "shard-0", "writes"),
    ]
    assert found(*reversed(shards)) == found(*shards)


def test_skew_is_max_over_mean() -> None:
    assert skew([7, 1, 1, 1]) == pytest.approx(2.8)
    assert skew([5, 5]) == 1.0
    assert skew([0, 0]) is None
    assert skew([]) is None
