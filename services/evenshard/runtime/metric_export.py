"""Sends metrics to the OTLP collector that the environment names."""

from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)

from evenshard.runtime.histograms import Histograms


def sending_reader(histograms: Histograms, every_ms: int) -> MetricReader:
    """What is read is sent so often, with the histograms."""
    return PeriodicExportingMetricReader(_WithHistograms(histograms), export_interval_millis=every_ms)


class _WithHistograms(MetricExporter):
    def __init__(self, histograms: Histograms) -> None:
        super().__init__()
        self._histograms = histograms
        self._inner: Any = OTLPMetricExporter()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        sent: MetricExportResult = self._inner.export(self._histograms.added_to(metrics_data), timeout_millis, **kwargs)
        return sent

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return bool(self._inner.force_flush(timeout_millis))

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._inner.shutdown(timeout_millis, **kwargs)
