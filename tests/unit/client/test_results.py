"""Answers as values and Arrow tables: types follow the measure; what charts need of a question comes along."""

from typing import Any

import pyarrow as pa
import pytest
from evenshard.api.v1 import query_pb2
from evenshard.client.flows import flows_result
from evenshard.client.results import SegmentationResult, segmentation_result
from evenshard.client.retentions import retention_result


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


def test_values_come_as_they_were_sent_nothing_and_undefined_ones_too() -> None:
    of = query_pb2.MeasureValue
    sent = [of(int64_value=0), of(int64_value=-3), of(), of(double_value=0.0), of(double_value=2.5), of(int64_value=7)]
    series = [query_pb2.SegmentationSeries(values=sent, overall=of(int64_value=0))]
    found = segmentation_result(query_pb2.QuerySegmentationResponse(series=series), ())
    assert repr(found.series) == "[{'by': [], 'values': [0, -3, None, 0.0, 2.5, 7], 'overall': 0}]"


def test_an_answer_knows_what_it_was_asked_in() -> None:
    answer = query_pb2.QuerySegmentationResponse(buckets=["2026-01-01", "2026-02-01"], incomplete_buckets=2)
    asked = segmentation_result(answer, ["p"], "unique", "month")
    assert (asked.incomplete, asked.by, asked.measure, asked.unit) == (2, ("p",), "unique", "month")
    assert set(asked.to_dict()) == {"buckets", "series", "meta"}
    assert retention_result(query_pb2.QueryRetentionResponse(), [], "week").unit == "week"
    assert retention_result(query_pb2.QueryRetentionResponse(), [], "").unit == "day"
    assert flows_result(query_pb2.QueryFlowsResponse(), "backward").direction == "backward"
    assert flows_result(query_pb2.QueryFlowsResponse(), "").direction == "forward"
