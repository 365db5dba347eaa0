"""Samples how long a client's calls take by the key they are about, and exports each minute which keys are slow.

A question about one user is about that user; any other is about its tenant. An import is about one event of each call,
chosen by chance. What is exported names no user: a key is told by its placement hash and slot, from which the shard
follows. Where the program has set up OpenTelemetry's metrics they go there, else to the OTLP collector that the
environment names, else nowhere.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
import pyarrow as pa
from opentelemetry import metrics

from evenshard.client.batches import Batch
from evenshard.hotkeys.key_latencies import Key, KeyLatencies, SlowKey

EXPORT_EVERY_S: Final = 60.0
OTLP_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
METRIC: Final = "evenshard.client.slow_key.p99"
_METER: Final = "evenshard"

_observed = False
_told: "dict[Sampling, list[metrics.Observation]]" = {}
"""What each client found last; replaced as a whole, as the exporter reads it in a thread of its own."""


class Sampling:
    """Of one client; belongs to its event loop."""

    def __init__(self, sample_every: int, *, export_every_s: float = EXPORT_EVERY_S) -> None:
        self.latencies = KeyLatencies(sample_every)
        self._export_every_s = export_every_s
        self._exporting: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def call(self, tenant: str, user: str) -> Iterator[None]:
        """A question that is answered meanwhile; ``user`` empty: about nobody in particular."""
        if not self.latencies.wants():
            yield
            return
        began_s = time.monotonic()
        try:
            yield
        finally:
            self._record((tenant, user), began_s)

    @contextlib.contextmanager
    def batch(self, tenant: str, batch: Batch, chance: float) -> Iterator[None]:
        """A call that carries a batch; ``chance``, 0 to 1, chooses the event that it is about."""
        if not self.latencies.wants():
            yield
            return
        began_s = time.monotonic()
        try:
            yield
        finally:
            self._record(key_of(batch, tenant, chance), began_s)

    async def close(self) -> None:
        """Ends the exports."""
        _told.pop(self, None)
        if self._exporting is not None:
            self._exporting.cancel()
            await asyncio.gather(self._exporting, return_exceptions=True)

    def _record(self, key: Key, began_s: float) -> None:
        self.latencies.record(key, 1000 * (time.monotonic() - began_s))
        if self._exporting is None and is_exporting():
            self._exporting = asyncio.create_task(self._export(), name="slow keys")

    async def _export(self) -> None:
        while True:
            _told[self] = observations(self.latencies.detect())
            await asyncio.sleep(self._export_every_s)


def observations(slow: Sequence[SlowKey]) -> list[metrics.Observation]:
    """The p99 of each slow key, with the median of all keys beside it."""
    if not slow:
        return []
    from evenshard.events.hashing import SLOT_SHIFT, hash_of  # kernels: half a second, which few clients need

    found = []
    for each in slow:
        hashed = hash_of(each.distinct_id)
        attributes: dict[str, str | int | float] = {
            "evenshard.tenant": each.tenant,
            "evenshard.key": f"{hashed:016x}" if each.distinct_id else "",
            "evenshard.slot": hashed >> SLOT_SHIFT if each.distinct_id else -1,
            "evenshard.median_ms": each.median_ms,
            "evenshard.samples": each.samples,
        }
        found.append(metrics.Observation(each.p99_ms, attributes))
    return found


def observe(meter: metrics.Meter) -> None:
    """From now on the meter is told what the clients of this process found last."""

    def told(options: metrics.CallbackOptions) -> list[metrics.Observation]:
        return [each for found in list(_told.values()) for each in found]

    meter.create_observable_gauge(METRIC, [told], unit="ms", description="p99 of calls about a key that is slow")


def key_of(batch: Batch, tenant: str, chance: float) -> Key:
    """The tenant and distinct_id of one event of a batch, as far as it can be read."""
    try:
        row = min(int(chance * batch.rows), batch.rows - 1)
        if batch.encoding == "arrow":
            with pa.ipc.open_stream(batch.payload) as reader:
                column = reader.read_next_batch().column("distinct_id")
            return tenant, str(column[row].as_py() or "")
        event = orjson.loads(batch.payload.split(b"\n")[row])
        named = event.get("distinct_id", event.get("properties", {}).get("distinct_id", ""))
        return str(event.get("tenant", tenant)), str(named)
    except (ValueError, KeyError, IndexError, AttributeError, pa.ArrowException):
        return tenant, ""  # the cluster will say what is wrong with it


def is_exporting() -> bool:
    """Whether somebody wants metrics; from the first time on that somebody does, they are told."""
    global _observed
    if not _observed and (meter := meter_of_program()) is not None:
        observe(meter)
        _observed = True
    return _observed


def meter_of_program() -> metrics.Meter | None:
    """None: nobody wants metrics."""
    sdk = sys.modules.get("opentelemetry.sdk.metrics")  # who has set up metrics has imported it
    if sdk is not None and isinstance(metrics.get_meter_provider(), sdk.MeterProvider):
        return metrics.get_meter(_METER)
    if not any(os.environ.get(name) for name in OTLP_VARIABLES):
        return None
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporter: Any = OTLPMetricExporter()
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=1000 * EXPORT_EVERY_S)
    return MeterProvider([reader]).get_meter(_METER)
