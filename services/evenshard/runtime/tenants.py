"""Every tenant's record in memory, as the directory's watch tells: a lookup costs a dict's."""

from collections.abc import Callable

from evenshard.directory.keys import TENANTS, tenant_key
from evenshard.directory.tenant import Tenant
from evenshard.ids import Epoch, Revision
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Entry
from evenshard.runtime.mirror import RANGE_TIMEOUT_S, START_TIMEOUT_S, Mirror


class TenantView:
    """A mirror of all ``Tenant`` records. ``get`` may be behind by what the watch has not delivered; ``fetch`` asks."""

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        on_change: Callable[[str, Tenant | None], None] | None = None,
    ) -> None:
        """``on_change`` is told of every record as it comes (None: it is gone); must be quick."""
        self._mirror = Mirror(directory, clock, TENANTS, Tenant.from_json, on_change)
        self.get = self._mirror.get
        """``get(name) -> Tenant | None``: as last seen."""

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Loads all tenants and follows them; raises ``DIRECTORY_UNAVAILABLE`` where no answer came in time."""
        await self._mirror.start(timeout_s)

    async def close(self) -> None:
        await self._mirror.close()

    def all(self) -> list[Tenant]:
        """By name."""
        return self._mirror.all()

    def count(self) -> int:
        """How many there are."""
        return self._mirror.count()

    def revision_of(self, name: str) -> Revision:
        """The directory revision of the tenant's last change; 0: not known here."""
        return self._mirror.revision_of(name)

    @property
    def revision(self) -> Revision:
        """Everything up to here is known."""
        return self._mirror.revision

    @property
    def stale_since_ms(self) -> float | None:
        """Since when the watch is broken (``monotonic_ms``); ``None``: it stands."""
        return self._mirror.stale_since_ms

    async def fetch(self, name: str, *, timeout_s: float = RANGE_TIMEOUT_S) -> Tenant | None:
        """Asks the directory now; the mirror shows the answer from then on. Raises ``DIRECTORY_UNAVAILABLE``, and
        ``FORMAT_TOO_NEW`` for a record of a newer evenshard."""
        return await self._mirror.fetch(name, timeout_s=timeout_s)

    def learn(self, tenant: Tenant, revision: Revision) -> None:
        """Shows a tenant this process has just written, or seen, at ``revision``, unless a newer one is known."""
        self._mirror.learn(Entry(tenant_key(tenant.name), tenant.to_json(), revision))

    @property
    def version(self) -> int:
        """Rises with all that is learnt."""
        return self._mirror.version

    async def wait_beyond(self, version: int) -> None:
        """Until something is learnt that is not in ``version``."""
        await self._mirror.wait_beyond(version)

    async def wait_epoch(self, name: str, epoch: Epoch, timeout_s: float) -> Tenant | None:
        """The tenant as soon as its placement is at ``epoch`` or later; ``None`` if that does not come in time."""
        return await self._mirror.wait_for(name, lambda tenant: tenant.placement.epoch >= epoch, timeout_s)
