"""Answers to queries as values: the fields of the JSON as attributes, and as a dict, an Arrow table or a data frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from evenshard.api.v1 import common_pb2, query_pb2
from evenshard.client.answer import Answer
from evenshard.text.segmentation import segmentation_blocks
from evenshard.text.table import Block

_OF_DOUBLES = frozenset(("average", "avg", "p50", "p90", "p99"))


@dataclass(frozen=True, slots=True, repr=False)
class SegmentationResult(Answer):
    """Counts or other measures by bucket, one series a group; None where undefined."""

    buckets: list[str]
    series: list[dict[str, Any]]
    """``{"by": [value…], "values": [one a bucket], "overall"}``, largest first."""
    meta: dict[str, Any]
    by: tuple[str, ...] = ()
    """The properties that ``series[…]["by"]`` are values of."""
    measure: str = "total"
    incomplete: int = 0
    """How many of the last buckets were not over when the question came."""
    unit: str = "day"
    """What a bucket is: minute, hour, day, week or month."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``evenshard query segmentation``."""
        return {"buckets": self.buckets, "series": self.series, "meta": self.meta}

    def to_arrow(self) -> pa.Table:
        """One row a bucket and group: ``bucket``, a column for each property of the breakdown, ``value`` (int64 for
        counts, and for a sum, minimum or maximum where all are integers; else float64).

        A property whose values are of several types is given as JSON text.
        """
        width = len(self.buckets)
        columns = {"bucket": pa.array(self.buckets * len(self.series), pa.utf8())}
        for at, name in enumerate(self.by):
            values = [series["by"][at] for series in self.series]
            columns[name] = breakdown_column([value for value in values for _ in range(width)])
        values = [value for series in self.series for value in series["values"]]
        if self.measure in _OF_DOUBLES or any(isinstance(value, float) for value in values):
            columns["value"] = pa.array([None if value is None else float(value) for value in values], pa.float64())
        else:
            columns["value"] = pa.array(values, pa.int64())
        return pa.table(columns)

    def blocks(self) -> list[Block]:
        return segmentation_blocks(self.to_dict(), self.by, self.measure, self.incomplete)

    def plot(self, ax: Any = None) -> Any:
        """Draws the trend: a line a series, dashed where buckets are not over yet. Returns the matplotlib ``Axes``:
        ``ax``, or those of a new figure; needs matplotlib (``evenshard[plot]``)."""
        from evenshard.client.plots.trend import draw_trend

        return draw_trend(self, ax)


def breakdown_column(values: Sequence[Any]) -> pa.Array:
    """Values of a property; as JSON text where they are of several types."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else orjson.dumps(value).decode() for value in values], pa.utf8())


def segmentation_result(
    answer: query_pb2.QuerySegmentationResponse, by: Sequence[str], measure: str = "total", unit: str = "day"
) -> SegmentationResult:
    """The answer as it came, as values."""
    series = [
        {
            "by": [breakdown_value(each) for each in line.by],
            # What has an integer that is not 0 needs no further look.
            "values": [value.int64_value or measured(value) for value in line.values],
            "overall": measured(line.overall),
        }
        for line in answer.series
    ]
    meta, incomplete = meta_document(answer.meta), answer.incomplete_buckets
    return SegmentationResult(list(answer.buckets), series, meta, tuple(by), measure, incomplete, unit)


def measured(value: query_pb2.MeasureValue) -> int | float | None:
    """A number; None: undefined."""
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def breakdown_value(value: query_pb2.GroupValue) -> Any:
    """A value of a breakdown; None: not set."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    return orjson.loads(found) if kind == "json_value" else found


def meta_document(meta: common_pb2.Meta) -> dict[str, Any]:
    """META of the contract."""
    return {
        "complete": meta.complete,
        "missing_shards": list(meta.missing_shards),
        "placement_epoch": meta.placement_epoch,
        "data_version": meta.data_version,
        "duplicates_skipped": {"log": meta.duplicates_skipped.log, "segment": meta.duplicates_skipped.segment},
        "hot_events_rewritten": meta.hot_events_rewritten,
        "rows_scanned": meta.rows_scanned,
        "bytes_scanned": meta.bytes_scanned,
        "shards": meta.shards,
        "cache": meta.cache,
        "elapsed_ms": meta.elapsed_ms,
        "trace_id": meta.trace_id,
        "warnings": [{"code": each.code, "message": each.message} for each in meta.warnings],
    }
