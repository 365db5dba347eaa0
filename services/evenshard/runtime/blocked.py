"""The ids of which no events are taken, as the directory's watch tells."""

import threading
from collections.abc import Iterable

from evenshard.directory.deletion import Block
from evenshard.directory.keys import BLOCKED, blocked_key, blocked_name
from evenshard.events.blocked import BlockedIds
from evenshard.ids import Revision, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Entry
from evenshard.runtime.logs import logger
from evenshard.runtime.mirror import START_TIMEOUT_S, Mirror


class BlockedView:
    """A mirror of all blocked ids. ``of`` may be called in threads."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._mirror = Mirror(directory, clock, BLOCKED, Block.from_json, self._changed)
        self._lock = threading.Lock()
        self._names: dict[TenantId, set[str]] = {}
        self._made: dict[TenantId, BlockedIds] = {}
        """Of ``_names``, made when first asked for."""

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Loads all and follows them; raises ``DIRECTORY_UNAVAILABLE`` where no answer came in time."""
        await self._mirror.start(timeout_s)

    async def close(self) -> None:
        await self._mirror.close()

    def of(self, tenant: TenantId) -> BlockedIds | None:
        """As last seen; None: none is blocked."""
        if tenant not in self._names:
            return None
        with self._lock:
            if tenant not in self._made:
                self._made[tenant] = BlockedIds(self._names.get(tenant, ()))
            return self._made[tenant]

    def learn(self, tenant: TenantId, distinct_ids: Iterable[str], block: Block, revision: Revision) -> None:
        """Shows what this process has just written, unless something newer is known."""
        for distinct_id in distinct_ids:
            self._mirror.learn(Entry(blocked_key(tenant, distinct_id), block.to_json(), revision))

    def _changed(self, name: str, block: Block | None) -> None:
        try:
            tenant, distinct_id = blocked_name(name)
        except ValueError:
            logger().error("a blocked id has a key that cannot be read", name=name)
            return
        with self._lock:
            names = self._names.setdefault(tenant, set())
            if block is None:
                names.discard(distinct_id)
            else:
                names.add(distinct_id)
            if not names:
                del self._names[tenant]
            self._made.pop(tenant, None)
