"""Answers to segmentations as Arrow tables: the type of the values follows the measure."""

from typing import Any

import pyarrow as pa
import pytest
from evenshard.client.results import SegmentationResult


@pytest.mark.parametrize(
    ("measure", "values", "kind", "expected"),
    [
        ("total", [1, 2], pa.int64(), [1, 2]),
        ("sum", [1, 2**62], pa.int64(), [1, 2**62]),
        ("sum", [1, 2.5], pa.float64(), [1.0, 2.5]),
        ("max", [None, 3], pa.int64(), [None, 3]),
        ("avg", [None, None], pa.float64(), [None, None]),
        ("p50", [None, 2.0], pa.float64(), [None, 2.0]),
        ("min", [2**53 + 1, 0.5], pa.float64(), [2.0**53, 0.5]),
    ],
)
def test_values_are_integers_or_doubles(
    measure: str, values: list[Any], kind: pa.DataType, expected: list[Any]
) -> None:
    series = [{"by": [], "values": values, "overall": None}]
    table = SegmentationResult(["2026-01-01", "2026-01-02"], series, {}, (), measure).to_arrow()
    assert (table.column("value").type, table.column("value").to_pylist()) == (kind, expected)
