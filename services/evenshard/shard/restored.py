"""Which hot keys are shown as themselves, as the directory's marks tell."""

from evenshard.hotkeys.marks import HotKey, Mark
from evenshard.hotkeys.restored import NOTHING_RESTORED, Restored
from evenshard.ids import TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory
from evenshard.runtime.marks import MarkView


class RestoredView:
    """Belongs to one event loop."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._marks = MarkView(directory, clock, self._changed)
        self._restored: dict[TenantId, Restored] = {}

    async def start(self) -> None:
        """Raises ``DIRECTORY_UNAVAILABLE`` where no answer came in time."""
        await self._marks.start()

    async def close(self) -> None:
        await self._marks.close()

    def of(self, tenant: TenantId) -> Restored:
        """Of one tenant, now."""
        return self._restored.get(tenant, NOTHING_RESTORED)

    def _changed(self, key: HotKey, mark: Mark | None) -> None:
        tenant, distinct_id, day = key
        restored = mark is not None and mark.has_hot_rows and mark.mode == "salt"
        changed = self.of(tenant).changed((distinct_id, day), restored=restored)
        if changed is not NOTHING_RESTORED:
            self._restored[tenant] = changed
