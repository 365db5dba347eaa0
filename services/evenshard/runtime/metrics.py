"""Metrics of this process: told to Prometheus where ``metrics_listen`` says, sent to the OTLP collector the environment
names. Where neither is, nothing is measured, and measuring costs nothing.

What is known anyway is *observed*: read when somebody asks. What happens is *recorded* or *counted* as it does. All of
it is named in ``metric_table``.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from evenshard.errors import EvenshardError
from evenshard.runtime.histograms import Histograms, Key, Series, ToldToPrometheus, key_of
from evenshard.runtime.metric_table import METRICS

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader

OTLP_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
SEND_EVERY_MS: Final = 10_000
FLUSH_TIMEOUT_S: Final = 3.0
_METER: Final = "evenshard"

Attributes = Mapping[str, str]
Reading = Callable[[], float | Iterable[tuple[float, Attributes]] | None]
"""One number, None where there is none now, or one for each set of attributes."""


@dataclass(slots=True)
class _Measuring:
    provider: "MeterProvider"
    meter: "Meter"
    histograms: Histograms
    close_endpoint: Callable[[], None]
    totals: dict[str, dict[Key, int]] = field(default_factory=dict)
    calls: dict[tuple[str, str, str], Series] = field(default_factory=dict)
    """By side, method and code: the same ones end all the time."""
    lock: threading.Lock = field(default_factory=threading.Lock)


_measuring: _Measuring | None = None


def start_metrics(service_name: str, listen: str = "") -> None:
    """From now on metrics are told to whoever asks ``listen`` (``host:port``; empty: nobody), and sent to the
    collector. Raises ``PORT_IN_USE``, ``USAGE``."""
    global _measuring
    has_collector = any(os.environ.get(name) for name in OTLP_VARIABLES)
    if not listen and not has_collector:
        return
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    histograms = Histograms()
    readers: list[MetricReader] = []
    close_endpoint: Callable[[], None] = _nothing
    if listen:
        reader, close_endpoint = _endpoint(listen, ToldToPrometheus(histograms, service_name))
        readers.append(reader)
    if has_collector:
        from evenshard.runtime.metric_export import sending_reader

        readers.append(sending_reader(histograms, SEND_EVERY_MS))
    provider = MeterProvider(readers, Resource.create({SERVICE_NAME: service_name}), shutdown_on_exit=False)
    meter = provider.get_meter(_METER)
    _measuring = _Measuring(provider, meter, histograms, close_endpoint)


def _endpoint(listen: str, histograms: ToldToPrometheus) -> "tuple[MetricReader, Callable[[], None]]":
    """What Prometheus asks."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry, start_http_server

    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise EvenshardError("USAGE", f"metrics_listen: {listen!r} is not host:port")
    registry = CollectorRegistry()
    registry.register(histograms)
    reader = PrometheusMetricReader(
        disable_target_info=True,
        scope_info_enabled=False,
        resource_attribute_filter=lambda name: name == "service.name",
        registry=registry,
    )
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise EvenshardError(
            "PORT_IN_USE",
            f"cannot listen at {listen} for metrics: {error.strerror}",
            hint="stop what listens there, or choose another: metrics_listen",
        ) from error

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join(FLUSH_TIMEOUT_S)

    return reader, close


def is_measuring() -> bool:
    """Whether anybody is told: what is read only for that need not be otherwise."""
    return _measuring is not None


def observe(name: str, read: Reading) -> None:
    """From now on ``read`` is asked for the metric whenever it is told; in a thread of its own, so it must be safe
    there. Nothing where nobody is told."""
    if _measuring is None:
        return
    from opentelemetry.metrics import CallbackOptions, Observation

    metric = METRICS[name]

    def observed(options: CallbackOptions) -> Iterable[Observation]:
        found = read()
        match found:
            case None:
                return []
            case int() | float():
                return [Observation(found)]
            case _:
                return [Observation(value, dict(attributes)) for value, attributes in found]

    make = (
        _measuring.meter.create_observable_counter
        if metric.form == "total"
        else _measuring.meter.create_observable_gauge
    )
    make(name, [observed], unit=metric.unit, description=metric.description)


def record(name: str, value: float, attributes: Attributes | None = None) -> None:
    """One more value of a histogram. From any thread."""
    if _measuring is not None:
        _measuring.histograms.series(name, key_of(attributes)).add(value)


def count(name: str, value: int, attributes: Attributes | None = None) -> None:
    """So much more of a total. From any thread."""
    measuring = _measuring
    if measuring is None or not value:
        return
    key = key_of(attributes)
    with measuring.lock:
        total = measuring.totals.get(name)
        is_new = total is None
        if total is None:
            total = measuring.totals[name] = {}
        total[key] = total.get(key, 0) + value
    if is_new:
        counted = total
        observe(name, lambda: [(number, dict(each)) for each, number in list(counted.items())])


def record_call(side: str, path: str, code: str, grpc_status: str, seconds: float) -> None:
    """A call that ended: ``side`` is server or client, ``code`` ours of how it failed (empty: it did not)."""
    measuring = _measuring
    if measuring is None:
        return
    series = measuring.calls.get((side, path, code))
    if series is None:
        attributes = {"rpc.system.name": "grpc", "rpc.method": path[1:], "rpc.response.status_code": grpc_status}
        if code:
            attributes["error.type"] = code
        series = measuring.histograms.series(f"rpc.{side}.call.duration", key_of(attributes))
        measuring.calls[side, path, code] = series
    series.add(seconds)


@contextlib.contextmanager
def timed(name: str, clock_s: Callable[[], float]) -> Iterator[None]:
    """Records how long the block takes, and with what it fails."""
    began_s, attributes = clock_s(), None
    try:
        yield
    except Exception as error:
        attributes = {"error.type": error.code if isinstance(error, EvenshardError) else "INTERNAL"}
        raise
    finally:
        record(name, clock_s() - began_s, attributes)


def stop_metrics() -> None:
    """Sends the last values, for a short while; a collector that does not answer holds up nobody."""
    global _measuring
    if _measuring is None:
        return
    stopped, _measuring = _measuring, None
    stopped.close_endpoint()
    flushing = threading.Thread(target=stopped.provider.shutdown, name="metric flush", daemon=True)
    flushing.start()
    flushing.join(FLUSH_TIMEOUT_S)


def _nothing() -> None:
    """There is no endpoint to close."""
