"""Metrics of this process, sent to the OTLP collector the environment names; none where it names none."""

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from evenshard import kernels

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider

OTLP_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
SEND_EVERY_MS: Final = 10_000
FLUSH_TIMEOUT_S: Final = 3.0

_provider: "MeterProvider | None" = None


def start_metrics(service_name: str) -> None:
    """``evenshard.kernels.compiled``: kernels this process compiled because the cache did not hold them. It stands
    still once the service is ready."""
    global _provider
    if not any(os.environ.get(name) for name in OTLP_VARIABLES):
        return
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    def compiled(options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(kernels.compiled())]

    exporter: Any = OTLPMetricExporter()
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=SEND_EVERY_MS)
    _provider = MeterProvider([reader], Resource.create({SERVICE_NAME: service_name}), shutdown_on_exit=False)
    _provider.get_meter("evenshard").create_observable_counter(
        "evenshard.kernels.compiled", [compiled], unit="{kernel}", description="kernels compiled by this process"
    )


def observe_total(name: str, unit: str, description: str, read: Callable[[], int]) -> None:
    """A number that only grows while the process lives; nothing where no metrics are sent."""
    if _provider is None:
        return
    from opentelemetry.metrics import CallbackOptions, Observation

    def observed(options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(read())]

    _provider.get_meter("evenshard").create_observable_counter(name, [observed], unit=unit, description=description)


def observe_memory(parts: Callable[[], Iterable[tuple[str, int]]]) -> None:
    """``evenshard.shard.memory``: bytes of each part, as an attribute; nothing where no metrics are sent."""
    if _provider is None:
        return
    from opentelemetry.metrics import CallbackOptions, Observation

    def observed(options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(size, {"evenshard.part": part}) for part, size in parts()]

    _provider.get_meter("evenshard").create_observable_gauge(
        "evenshard.shard.memory", [observed], unit="By", description="memory held by the parts of a shard"
    )


LOAD_UNITS: Final = {
    "events": "{event}/s",
    "queries": "{query}/s",
    "query.p99": "ms",
    "busy": "1",
    "pending": "By",
    "cpu": "{core}",
    "disk.read": "By/s",
    "disk.written": "By/s",
}


def observe_load(load: Callable[[], Mapping[str, float | None]]) -> None:
    """``evenshard.shard.load.events`` and so on, one for each of ``LOAD_UNITS``: what a shard had to do in the last
    seconds; nothing where no metrics are sent."""
    if _provider is None:
        return
    from opentelemetry.metrics import CallbackOptions, Observation

    def observer(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observed(options: CallbackOptions) -> Iterable[Observation]:
            value = load()[name]
            return [] if value is None else [Observation(value)]

        return observed

    for name, unit in LOAD_UNITS.items():
        _provider.get_meter("evenshard").create_observable_gauge(
            f"evenshard.shard.load.{name}", [observer(name)], unit=unit, description="of the last 30 s"
        )


def stop_metrics() -> None:
    """Sends the last values, for a short while; a collector that does not answer holds up nobody."""
    global _provider
    if _provider is None:
        return
    stopped, _provider = _provider, None
    flushing = threading.Thread(target=stopped.shutdown, name="metric flush", daemon=True)
    flushing.start()
    flushing.join(FLUSH_TIMEOUT_S)
