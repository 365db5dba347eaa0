"""The Python client: ``connect`` here blocks, ``evenshard.aio.connect`` awaits; one implementation for both."""

import os
from typing import Literal

from evenshard.client.async_client import AsyncClient
from evenshard.client.blocking_export import Export
from evenshard.client.browse import SchemaResult, TimelineResult
from evenshard.client.client import Client
from evenshard.client.cohorts import CohortsResult
from evenshard.client.exports import AsyncExport
from evenshard.client.files import FORMATS, Format
from evenshard.client.flows import FlowsResult
from evenshard.client.funnels import FunnelResult
from evenshard.client.import_result import ImportResult
from evenshard.client.importer import Compression, Progress
from evenshard.client.results import SegmentationResult
from evenshard.client.retentions import RetentionResult
from evenshard.hotkeys.key_latencies import SAMPLE_EVERY, SlowKey

__all__ = [
    "FORMATS",
    "AsyncClient",
    "AsyncExport",
    "Client",
    "CohortsResult",
    "Export",
    "FlowsResult",
    "Format",
    "FunnelResult",
    "ImportResult",
    "Progress",
    "RetentionResult",
    "SchemaResult",
    "SegmentationResult",
    "SlowKey",
    "TimelineResult",
    "connect",
    "connect_async",
]

TIMEOUT_DEFAULT_S = 30.0


def connect(
    router: str | None = None,
    gateway: str | None = None,
    *,
    tenant: str | None = None,
    token: str | None = None,
    timeout: float = TIMEOUT_DEFAULT_S,
    compression: Compression | Literal["auto"] = "auto",
    sample_every: int = SAMPLE_EVERY,
) -> Client:
    """A client for a router and a gateway (``host:port``; absent: ``EVENSHARD_ROUTER``, ``EVENSHARD_GATEWAY``, or
    this machine's 7400 and 7401). ``tenant`` is the default of its calls; ``token`` (absent: ``EVENSHARD_TOKEN``) says
    who calls; ``timeout`` in seconds bounds each call with its retries; ``compression`` of imports is by default zstd
    except on this machine. Of one call in ``sample_every`` the time is kept by its key, for ``detect``. Nothing is sent
    before the first call."""
    return Client(
        lambda: connect_async(
            router,
            gateway,
            tenant=tenant,
            token=token,
            timeout=timeout,
            compression=compression,
            sample_every=sample_every,
        )
    )


def connect_async(
    router: str | None = None,
    gateway: str | None = None,
    *,
    tenant: str | None = None,
    token: str | None = None,
    timeout: float = TIMEOUT_DEFAULT_S,
    compression: Compression | Literal["auto"] = "auto",
    sample_every: int = SAMPLE_EVERY,
) -> AsyncClient:
    """As ``connect``, for ``async with``; call it where an event loop runs."""
    return AsyncClient(
        router,
        gateway,
        tenant=tenant,
        token=token,
        timeout=timeout,
        compression=compression,
        environment=os.environ,
        sample_every=sample_every,
    )
