"""Measures at their edges: sums that do not fit, orders that do not matter, questions too large."""

import random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from evenshard.errors import EvenshardError
from evenshard.queries import answer, cell_values, measured, scans
from evenshard.queries.model import segmentation_query
from evenshard.queries.partials import read_partial
from evenshard.testing.reference import Row
from evenshard.testing.scanned import scanned_rows

START_MS = 1_704_067_200_000


def rows_of(values: list[Any], by: str = "") -> list[Row]:
    return [
        {"event": "view", "distinct_id": f"u{at % 3}", "time": START_MS, "insert_id": None, "duplicate": False,
         "properties": {"n": value, "by": by}}
        for at, value in enumerate(values)
    ]  # fmt: skip


def overall(measure: str, shards: list[list[Any]], by: list[str] | None = None) -> Any:
    query = segmentation_query(from_date="2024-01-01", to_date="2024-01-02", measure=measure, property="n", by=by or [])
    plan = answer.plan_segmentation(query, ZoneInfo("UTC"), dedupe=True)
    partials = [read_partial(scans.run(plan.scan.to_json(), [scanned_rows(rows_of(values))])[0]) for values in shards]
    return answer.finish(plan, answer.merge(partials)).series[0].overall


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2**63 - 1, 0], 2**63 - 1),
        ([2**63 - 1, 1], 2.0**63),
        ([-(2**63), -1], -(2.0**63)),
        ([2**63 - 1, 2**63 - 1, -(2**63) + 1], 2**63 - 1),
        ([0.1] * 10, 1.0),
        ([1e16, 1.0, -1e16], 1),
        ([1e308, 1e308, -1e308], 1e308),
        ([1e308, 1e308], None),
        ([5e-324, 5e-324], 1e-323),
        ([1.5, 1.5], 3),
        (["3", True, None, [4]], 0),
        ([], 0),
    ],
)
def test_sums_are_exact_until_they_are_shown(values: list[Any], expected: float | None) -> None:
    assert repr(overall("sum", [values])) == repr(expected)
    assert repr(overall("sum", [values[::2], values[1::2]])) == repr(expected)


def test_a_mean_of_numbers_whose_sum_is_beyond_every_double_is_there() -> None:
    assert overall("avg", [[1e308, 1.5e308]]) == 1.25e308


@pytest.mark.parametrize("measure", ["sum", "avg", "p50", "p90", "min", "max"])
def test_no_order_of_rows_and_shards_changes_a_bit(measure: str) -> None:
    chance = random.Random(3)
    values = [chance.choice([chance.uniform(-1e9, 1e9), chance.randint(-(2**63), 2**63 - 1)]) for _ in range(9)]
    orders = [chance.sample(values, len(values)) for _ in range(8)]
    assert len({repr(overall(measure, [order[:2], order[2:5], order[5:]])) for order in orders}) == 1


def test_quantiles_of_too_many_numbers_are_refused_by_the_shard_and_by_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cell_values, "VALUES_MAX", 10)
    assert overall("p50", [list(range(10)) * 3]) == 4.5
    with pytest.raises(EvenshardError, match="property n: more than 10 distinct numbers") as failed:
        overall("p50", [list(range(11))])
    assert (failed.value.code, failed.value.fields[0].field) == ("QUERY_INVALID", "property")
    monkeypatch.setattr(measured, "NUMBERS_MAX", 15)
    with pytest.raises(EvenshardError, match="property n: more than 15 distinct numbers"):
        overall("p50", [list(range(9)), list(range(9, 18))])


def test_a_sum_of_more_numbers_than_its_limbs_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "SUMMED_MAX", 5)
    assert overall("sum", [[1, 2, 3, 4]]) == 10
    with pytest.raises(EvenshardError, match="sums are of less than 5 numbers"):
        overall("sum", [[1, 2, 3, 4, 5]])
