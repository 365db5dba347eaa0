"""The evaluation of alert expressions: what it gives, and that it refuses what it does not know."""

import math

import pytest
from evenshard.testing.promql import Sample, evaluate, samples_of

SAMPLES = [
    Sample("load", {"shard": "a", "zone": "x"}, 10.0),
    Sample("load", {"shard": "b", "zone": "x"}, 2.0),
    Sample("load", {"shard": "c", "zone": "y"}, 3.0),
    Sample("limit", {"shard": "a", "zone": "x"}, 4.0),
    Sample("limit", {"shard": "b", "zone": "x"}, 4.0),
    Sample("other", {}, 0.0),
]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("sum(load)", {(): 15.0}),
        ("max(load) - min(load) * 2 + 1", {(): 7.0}),
        ("sum by (zone) (load)", {(("zone", "x"),): 12.0, (("zone", "y"),): 3.0}),
        ("avg by (shard, zone) (load{shard!=\"a\"}) > 2", {(("shard", "c"), ("zone", "y")): 3.0}),
        ('count(load{zone=~"x|z", shard!~"b.*"})', {(): 1.0}),
        ("load > limit", {(("shard", "a"), ("zone", "x")): 10.0}),
        ("load / limit", {(("shard", "a"), ("zone", "x")): 2.5, (("shard", "b"), ("zone", "x")): 0.5}),
        ("max(load) >= 2 * (sum(load) - max(load)) / (count(load) - 1) and max(load) >= 10", {(): 10.0}),
        ("max(load) >= 10 and max(load) >= 11", {}),
        ("max(load) > 99 or min(load) < 3", {(): 2.0}),
        ("sum(absent)", {}),
        ("2 * 3", {(): 6.0}),
    ],
)  # fmt: skip
def test_it_gives_what_prometheus_gives(expression: str, expected: dict[tuple[tuple[str, str], ...], float]) -> None:
    assert evaluate(expression, SAMPLES) == {frozenset(labels): value for labels, value in expected.items()}


def test_nothing_is_more_than_nothing_divided_by_nothing() -> None:
    assert evaluate("max(load) >= other / other", SAMPLES) == {}
    (value,) = evaluate("other / other", SAMPLES).values()
    assert math.isnan(value)


@pytest.mark.parametrize(
    "expression",
    ["rate(load[5m])", "load > ignoring(zone) limit", "quantile(1, load)", "load offset 5m", "1 > load", "sum(load"],
)  # fmt: skip
def test_what_it_does_not_know_it_refuses(expression: str) -> None:
    with pytest.raises(ValueError, match=r"not known|expected|the middle|only the other way"):
        evaluate(expression, SAMPLES)


def test_a_page_of_metrics_is_read() -> None:
    pytest.importorskip("prometheus_client", reason="NO METRICS TESTED: scripts/setup.sh")
    page = '# TYPE up gauge\nup{a="b \\"c\\""} 1.5\nup 2\n'
    assert samples_of(page, {"job": "j"}) == [
        Sample("up", {"a": 'b "c"', "job": "j"}, 1.5), Sample("up", {"job": "j"}, 2.0),
    ]  # fmt: skip
