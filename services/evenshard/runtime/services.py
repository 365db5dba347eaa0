"""Every service process of the cluster in memory, as the directory's watch tells."""

from evenshard.directory.keys import SERVICES
from evenshard.directory.service import Kind, ServiceRecord
from evenshard.ids import Revision, ShardId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory
from evenshard.runtime.mirror import RANGE_TIMEOUT_S, START_TIMEOUT_S, Mirror
from evenshard.runtime.peer_names import note_peer


class ServiceView:
    """A mirror of all ``ServiceRecord``s. A dead service stays listed until it comes back or is stopped cleanly."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._mirror = Mirror(directory, clock, SERVICES, ServiceRecord.from_json, _note)
        self.get = self._mirror.get
        """``get(name) -> ServiceRecord | None``: as last seen."""

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Loads all records and follows them; raises ``DIRECTORY_UNAVAILABLE`` where no answer came in time."""
        await self._mirror.start(timeout_s)

    async def close(self) -> None:
        await self._mirror.close()

    def all(self) -> list[ServiceRecord]:
        """By name."""
        return self._mirror.all()

    def of_kind(self, kind: Kind) -> list[ServiceRecord]:
        """By name."""
        return [record for record in self._mirror.all() if record.kind == kind]

    def shards(self) -> dict[ShardId, str]:
        """The address of each shard, by name."""
        return {ShardId(record.name): record.address for record in self.of_kind("shard")}

    @property
    def revision(self) -> Revision:
        """Everything up to here is known."""
        return self._mirror.revision

    @property
    def stale_since_ms(self) -> float | None:
        """Since when the watch is broken (``monotonic_ms``); ``None``: it stands."""
        return self._mirror.stale_since_ms

    async def fetch(self, name: str, *, timeout_s: float = RANGE_TIMEOUT_S) -> ServiceRecord | None:
        """Asks the directory now; the mirror shows the answer from then on."""
        return await self._mirror.fetch(name, timeout_s=timeout_s)


def _note(name: str, record: ServiceRecord | None) -> None:
    if record is not None and record.address:
        note_peer(record.address, name)
