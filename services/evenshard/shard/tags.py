"""What a gateway may still know: a tag stands for a tenant's rows as one process of a shard sees them.

As long as the tag of (tenant, epoch) is the same, so is the answer to every scan of them: the version of the rows
changes with each synced append, deletion, compaction and quarantine, and with each hot key that is restored or is not
any more. The process is part of it, so that nothing known
outlives a restart, whatever was lost or cut then.
"""

from dataclasses import dataclass

from evenshard.hotkeys.restored import Restored
from evenshard.ids import Epoch, TenantId
from evenshard.ports.rng import Rng
from evenshard.storage.store import Store

_INCARNATION_BYTES = 8


def new_incarnation(rng: Rng) -> str:
    """A name of this process that no other has."""
    return rng.token_hex(_INCARNATION_BYTES)


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of one shard."""

    store: Store
    incarnation: str

    def of(self, data_version: str, restored: Restored) -> str:
        """``restored``: the keys by which rows were shown."""
        shown = f"/{restored.version}" if restored.version else ""
        return f"{self.incarnation}/{data_version}{shown}"

    def now(self, tenant: TenantId, epoch: Epoch, restored: Restored) -> str:
        """Of everything acknowledged by now. Raises ``STALE_EPOCH``. Blocks, for as long as a new epoch is stored."""
        self.store.fence(tenant, epoch)
        with self.store.snapshot(tenant) as snapshot:
            return self.of(snapshot.data_version, restored)
