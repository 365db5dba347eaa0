"""What makes a shard hot, said with its evidence: one key, which no split helps, or many, which a rebalance does. Pure.

*Hot* is a shard with at least twice the load of the others' mean, and more than next to nothing: of writes (events
stored a second) or of reads (time spent in scans). A *hot key* on it is one that makes up a fifth of its load and by
itself as much as the others' mean: whatever shard it is on has that much more to do than the others, so no split and no
move of slots ends it. Where the shard would still be hot without its hot keys, it is hot over many warm ones besides.

Two shards need less than three to be told apart by max / mean, which is at most their number; so the others' mean is
the yardstick here, and the skew only evidence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

HOT_TIMES_MEAN: Final = 2.0
"""Of the other shards' load."""
KEY_SHARE_MIN: Final = 0.2
"""Of its shard's load."""
REST_SHARE_MIN: Final = 0.2
"""Of a shard's load is what its hot keys leave, or nothing is said of it: keys are weighed from samples."""
KEYS_NAMED_MAX: Final = 5
"""Hot keys of one shard that are told of."""
EVENTS_PER_SECOND_MIN: Final = 50.0
"""A shard that stores less is not hot."""
BUSY_SHARE_MIN: Final = 0.02
"""A shard whose scans take less time, of one core, is not hot."""

Mode = Literal["rewrite", "salt", "observe"]
Dimension = Literal["writes", "reads"]


@dataclass(frozen=True, slots=True)
class KeyLoad:
    """A key's part in the load of a shard."""

    tenant: str
    distinct_id: str
    events_per_second: float
    busy: float
    """Time spent in scans of this key alone, as a share of one core."""
    mode: str = ""
    """What its mark says becomes of its events today; empty: it has none."""


@dataclass(frozen=True, slots=True)
class ShardLoad:
    """What a shard had to do in the last seconds."""

    shard: str
    events_per_second: float
    queries_per_second: float
    query_p99_ms: float | None
    busy: float
    """Time spent in scans, as a share of one core."""
    cpu: float | None
    """Cores."""
    pending_bytes: int
    """Appends that wait for the log."""
    keys: Sequence[KeyLoad] = ()
    """The largest ones."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that is wrong, and what to do."""

    kind: Literal["hot_key", "hot_shard"]
    subject: str
    """The distinct_id, or the shard."""
    evidence: str
    advice: str
    shard: str
    tenant: str | None
    distinct_id: str | None
    dimension: Dimension


def skew(loads: Sequence[float]) -> float | None:
    """Max ÷ mean; 1: even. None: there is no load."""
    total = sum(loads)
    return max(loads) * len(loads) / total if total > 0 else None


def diagnose(shards: Sequence[ShardLoad]) -> list[Diagnosis]:
    """What is wrong, what weighs most first; nothing where loads are even, idle, or of a single shard."""
    found: list[tuple[float, Diagnosis]] = []
    for shard in shards:
        others = [each for each in shards if each.shard != shard.shard]
        if not others:
            continue
        found += _of_dimension(shard, others, "writes", lambda each: each.events_per_second, EVENTS_PER_SECOND_MIN)
        found += _of_dimension(shard, others, "reads", lambda each: each.busy, BUSY_SHARE_MIN)
    found.sort(key=lambda each: (-each[0], each[1].shard, each[1].subject))
    return [diagnosis for _, diagnosis in found]


def _of_dimension(
    shard: ShardLoad,
    others: Sequence[ShardLoad],
    dimension: Dimension,
    load_of: Callable[[ShardLoad | KeyLoad], float],
    load_min: float,
) -> list[tuple[float, Diagnosis]]:
    """Diagnoses and how many times the others' mean each is about."""
    load, mean = load_of(shard), sum(map(load_of, others)) / len(others)
    if load < load_min or load < HOT_TIMES_MEAN * mean:
        return []
    keys = sorted(shard.keys, key=lambda key: -load_of(key))[:KEYS_NAMED_MAX]
    hot = [key for key in keys if load_of(key) >= max(mean, KEY_SHARE_MIN * load)]
    times = load / max(mean, load_min / 100)  # of idle ones: many
    found = [(times, _hot_key(shard, key, dimension, load_of(key), load, mean, times)) for key in hot]
    rest = load - sum(load_of(key) for key in hot)
    if rest >= max(load_min, HOT_TIMES_MEAN * mean, REST_SHARE_MIN * load):
        largest = keys[0] if keys else None
        share = load_of(largest) / load if largest is not None else 0.0
        found.append((times, _hot_shard(shard, dimension, load, mean, times, largest, share, bool(hot))))
    return found


def _hot_key(
    shard: ShardLoad, key: KeyLoad, dimension: Dimension, key_load: float, load: float, mean: float, times: float
) -> Diagnosis:
    share = key_load / load
    evidence = (
        f"{_of_shard(shard, dimension, load, mean, times)}; {_percent(share)} of that is {key.distinct_id!r} of tenant "
        f"{key.tenant}: without it {_amount(dimension, load - key_load)}"
    )
    return Diagnosis(
        "hot_key",
        key.distinct_id,
        evidence,
        f"one hot key {key.distinct_id!r} on {shard.shard}: caching or salting helps, no split does; "
        f"{_key_advice(key, dimension)}",
        shard.shard,
        key.tenant,
        key.distinct_id,
        dimension,
    )


def _key_advice(key: KeyLoad, dimension: Dimension) -> str:
    if dimension == "reads":
        return (
            "ask the same question again instead of another one, so that the gateway's cache answers (no --no-cache, "
            "gateway_cache_bytes), or keep the answer where it is used"
        )
    match key.mode:
        case "observe":
            return (
                "its mark says observe, and keeps that for its day: let the tenant spread the keys of other days "
                f"(evenshard admin set-tenant {key.tenant} --hot-key-mode salt), and stop what sends it"
            )
        case "":
            return (
                "it is below its tenant's threshold, or counters do not answer: lower the threshold (evenshard admin "
                f"set-tenant {key.tenant} --hot-key-threshold N), and look for what sends it"
            )
    return "it has just been marked, and its next events are spread: look again in a minute"


def _hot_shard(
    shard: ShardLoad,
    dimension: Dimension,
    load: float,
    mean: float,
    times: float,
    largest: KeyLoad | None,
    share: float,
    has_hot_keys: bool,
) -> Diagnosis:
    largest_said = (
        "no key stands out"
        if largest is None or not share
        else f"its largest key, {largest.distinct_id!r} of tenant {largest.tenant}, is {_percent(share)} of that"
    )
    besides = "besides its hot keys " if has_hot_keys else ""
    return Diagnosis(
        "hot_shard",
        shard.shard,
        f"{_of_shard(shard, dimension, load, mean, times)}; {largest_said}",
        f"{shard.shard} is {besides}hot over many warm keys: rebalance (give some of its slots or tenants to other "
        "shards)",
        shard.shard,
        None,
        None,
        dimension,
    )


def _of_shard(shard: ShardLoad, dimension: Dimension, load: float, mean: float, times: float) -> str:
    others = f"{times:.1f} × the mean of the other shards ({_amount(dimension, mean)})" if mean else "the others none"
    p99 = "" if shard.query_p99_ms is None else f", query p99 {shard.query_p99_ms:,.0f} ms"
    cpu = "" if shard.cpu is None else f", {shard.cpu:.2f} cores"
    return f"{shard.shard}: {_amount(dimension, load)}, {others}{cpu}{p99}, {shard.pending_bytes:,} bytes wait"


def _amount(dimension: Dimension, load: float) -> str:
    return f"{load:,.0f} events/s stored" if dimension == "writes" else f"{_percent(load)} of a core in scans"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
