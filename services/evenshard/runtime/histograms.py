"""Histograms and totals that cost a fraction of a µs a value: the SDK's take 25, which a service that handles a call in
a few ms would feel. They are told beside what the SDK reads, to Prometheus and to a collector.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from evenshard.runtime.metric_table import METRICS, SECONDS, prometheus_name

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

Key = tuple[tuple[str, str], ...]
"""Attributes and their values."""
SERIES_MAX: Final = 2_000
"""Of one metric; of more, the others are not told apart."""
_REST: Final[Key] = (("otel.metric.overflow", "true"),)


def key_of(attributes: Mapping[str, str] | None) -> Key:
    return tuple(attributes.items()) if attributes else ()


class Series:
    """The values of one histogram with the same attributes."""

    __slots__ = ("_lock", "bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By upper bound, which belongs to it; the last one has none."""
        self.sum = 0.0
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        """From any thread."""
        place = bisect_left(self.bounds, value)
        with self._lock:
            self.counts[place] += 1
            self.sum += value


class Histograms:
    """Of one process."""

    def __init__(self) -> None:
        self._series: dict[str, dict[Key, Series]] = {}
        self._began_ns = time.time_ns()

    def series(self, name: str, key: Key) -> Series:
        """Where values of a metric of the table with these attributes are added."""
        of = self._series.setdefault(name, {})
        found = of.get(key)
        if found is None:
            key = key if len(of) < SERIES_MAX else _REST
            found = of.setdefault(key, Series(METRICS[name].bounds or SECONDS))
        return found

    def all(self) -> Iterator[tuple[str, list[tuple[Key, Series]]]]:
        """By metric. From any thread."""
        for name, of in list(self._series.items()):
            yield name, list(of.items())

    def added_to(self, metrics: "MetricsData") -> "MetricsData":
        """What the SDK read, and the histograms beside it."""
        from opentelemetry.sdk.metrics import export

        now_ns = time.time_ns()
        made = [
            export.Metric(
                name,
                METRICS[name].description,
                METRICS[name].unit,
                export.Histogram(
                    [self._point(export, dict(key), series, now_ns) for key, series in found],
                    export.AggregationTemporality.CUMULATIVE,
                ),
            )
            for name, found in self.all()
        ]
        of_resource, *others = metrics.resource_metrics
        scope, *scopes = of_resource.scope_metrics
        scope = replace(scope, metrics=[*scope.metrics, *made])
        return replace(metrics, resource_metrics=[replace(of_resource, scope_metrics=[scope, *scopes]), *others])

    def _point(self, export: Any, attributes: dict[str, str], series: Series, now_ns: int) -> Any:
        counts = list(series.counts)
        bounds = [*series.bounds, series.bounds[-1]]
        filled = [at for at, count in enumerate(counts) if count]
        return export.HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=self._began_ns,
            time_unix_nano=now_ns,
            count=sum(counts),
            sum=series.sum,
            bucket_counts=counts,
            explicit_bounds=list(series.bounds),
            min=bounds[filled[0] - 1] if filled and filled[0] else 0.0,  # as near as buckets say
            max=bounds[filled[-1]] if filled else 0.0,
        )


class ToldToPrometheus:
    """A collector of ``prometheus_client``."""

    def __init__(self, histograms: Histograms, service: str) -> None:
        self._histograms = histograms
        self._service = service

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import HistogramMetricFamily

        for name, found in self._histograms.all():
            labels = sorted({label for key, _ in found for label, _ in key})
            names = ["service_name", *(label.replace(".", "_") for label in labels)]
            family = HistogramMetricFamily(prometheus_name(name), METRICS[name].description, labels=names)
            for key, series in found:
                counts, values, total = list(series.counts), dict(key), 0
                buckets = []
                for bound, count in zip([*map(str, series.bounds), "+Inf"], counts, strict=True):
                    total += count
                    buckets.append((bound, total))
                family.add_metric([self._service, *(values.get(label, "") for label in labels)], buckets, series.sum)
            yield family
