"""Sampling by key: one call in many, bounded keys, and the rule by which one is slow."""

from evenshard.hotkeys.key_latencies import KeyLatencies, SlowKey


def recorded(samples: dict[str, list[float]], **bounds: int) -> KeyLatencies:
    latencies = KeyLatencies(**bounds)
    for name, values in samples.items():
        for value in values:
            latencies.record(("acme", name), value)
    return latencies


def test_one_call_in_a_thousand_is_sampled() -> None:
    latencies = KeyLatencies()
    chosen = [number for number in range(1, 3_001) if latencies.wants()]
    assert chosen == [1_000, 2_000, 3_000]
    every = KeyLatencies(1)
    assert [every.wants() for _ in range(3)] == [True, True, True]


def test_a_key_ten_times_as_slow_as_the_median_is_found() -> None:
    calls = {"a": [1.0] * 20, "b": [2.0] * 20, "c": [3.0] * 20, "slow": [20.1] * 30, "slower": [99.0] * 20}
    latencies = recorded(calls)
    # Of five p99s the median is 3.0: nothing above 30 but one.
    assert latencies.detect() == [SlowKey("acme", "slower", 99.0, 3.0, 20)]
    latencies = recorded({"a": [1.0] * 20, "b": [2.0] * 20, "c": [2.0] * 20, "slow": [20.1] * 30})
    assert latencies.detect() == [SlowKey("acme", "slow", 20.1, 2.0, 30)]


def test_exactly_ten_times_is_not_slow() -> None:
    assert recorded({"a": [1.0] * 20, "b": [1.0] * 20, "slow": [10.0] * 20}).detect() == []


def test_fewer_than_three_keys_or_twenty_samples_say_nothing() -> None:
    assert recorded({"a": [1.0] * 20, "slow": [500.0] * 20}).detect() == []
    assert recorded({"a": [1.0] * 20, "b": [1.0] * 19, "slow": [500.0] * 20}).detect() == []
    assert recorded({"a": [1.0] * 20, "b": [1.0] * 20, "c": [1.0] * 20, "slow": [500.0] * 19}).detect() == []


def test_a_p99_is_of_the_newest_128_samples_of_its_key() -> None:
    latencies = recorded({"a": [900.0] * 50 + [1.0] * 128, "b": [1.0] * 99 + [7.0], "c": [1.0] * 20})
    assert latencies.p99s() == {
        ("acme", "a"): (1.0, 128),
        ("acme", "b"): (1.0, 100),
        ("acme", "c"): (1.0, 20),
    }


def test_keys_are_bounded_and_the_one_sampled_longest_ago_goes() -> None:
    latencies = KeyLatencies(keys_max=3, samples_min=1)
    for name in ("a", "b", "c", "a", "d"):
        latencies.record(("acme", name), 1.0)
    assert latencies.keys == 3
    assert sorted(name for _, name in latencies.p99s()) == ["a", "c", "d"]


def test_one_id_of_two_tenants_is_two_keys() -> None:
    latencies = KeyLatencies(samples_min=1)
    for tenant, latency in (("acme", 1.0), ("other", 2.0)):
        latencies.record((tenant, "u"), latency)
    assert latencies.p99s() == {("acme", "u"): (1.0, 1), ("other", "u"): (2.0, 1)}
