"""What a service is to the process that runs it: ports and options in, gRPC servicers and a way to stop out."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenshard.directory.service import Kind
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory
from evenshard.ports.disk import Disk
from evenshard.ports.peers import Peers
from evenshard.ports.rng import Rng
from evenshard.runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Ports:
    """The world, as one service sees it. ``disk`` is there for shards (and whoever keeps files)."""

    clock: Clock
    rng: Rng
    directory: Directory
    peers: Peers
    disk: Disk | None
    tell: Callable[[str], None] = lambda _: None
    """Says why the service does not serve, or not wholly, for ``evenshard status``; empty: it does. From any thread."""
    note: Callable[[str], None] = lambda _: None
    """Says what somebody should look at although the service serves, for ``evenshard status``; empty: nothing. From any
    thread."""


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Who this process is."""

    kind: Kind
    name: str
    listen: str
    """``host:port`` to bind."""
    etcd: tuple[str, ...]
    data_dir: Path | None
    restarts: int
    settings: Settings
    advertise: str = ""
    """``host:port`` others reach it at; empty: where it listens."""
    metrics_listen: str = ""
    """``host:port`` where it tells its metrics; empty: as the settings say."""


@dataclass(frozen=True, slots=True)
class Servicer:
    """A gRPC servicer and how it is added to a server. Its methods are ``async def Name(self, request, context)`` or
    async generators; they use ``current_call()`` and leave ``context`` alone."""

    full_name: str
    """As ``evenshard.v1.ShardService``."""
    add: Callable[[Any, Any], None]
    """``add_XServicer_to_server``."""
    instance: Any


@dataclass(frozen=True, slots=True)
class Running:
    """A service that is ready to serve."""

    servicers: Sequence[Servicer]
    close: Callable[[], Awaitable[None]]
    """Called once all calls in flight have ended: flushes and releases everything, within 20 s."""


Build = Callable[[Ports, ServiceOptions], Awaitable[Running]]
"""Each service package exports one: ``async def build(ports, options)``. It returns when the service is ready; it must
not wait for other services."""
