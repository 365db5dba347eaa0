"""A tenant that was deleted: for a while it can be had back, then all of it is removed. Decides, does no IO."""

import json
from dataclasses import dataclass, replace
from typing import Final

from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch

RECORD_VERSION: Final = 1
KEPT_MS: Final = 7 * 86_400_000
"""How long it can be had back."""


@dataclass(frozen=True, slots=True)
class DeletedTenant:
    """Beside no record among the tenants: nobody imports into it or asks about it."""

    tenant: Tenant
    """As it was."""
    deleted_ms: int
    deleted_by: str
    """The principal."""

    @property
    def kept_until_ms(self) -> int:
        return self.deleted_ms + KEPT_MS

    def restored(self, nonce: str) -> Tenant:
        """At the next epoch: what was planned before its deletion is planned anew."""
        placement = replace(self.tenant.placement, epoch=Epoch(self.tenant.placement.epoch + 1))
        return replace(self.tenant, placement=placement, nonce=nonce)

    def to_json(self) -> bytes:
        record = {
            "version": RECORD_VERSION,
            "tenant": self.tenant.to_json().decode(),
            "deleted_ms": self.deleted_ms,
            "deleted_by": self.deleted_by,
        }
        return json.dumps(record).encode()

    @staticmethod
    def from_json(data: bytes) -> "DeletedTenant":
        """Raises ``FORMAT_TOO_NEW`` for what a newer evenshard wrote."""
        record = json.loads(data)
        if record["version"] > RECORD_VERSION:
            raise EvenshardError("FORMAT_TOO_NEW", f"a deleted tenant has a record of version {record['version']}")
        return DeletedTenant(Tenant.from_json(record["tenant"].encode()), record["deleted_ms"], record["deleted_by"])


def last_epoch(data: bytes | None) -> Epoch:
    """Of a tenant of that name that is gone for good; 0: there was none."""
    return Epoch(json.loads(data)["epoch"] if data else 0)


def epoch_record(epoch: Epoch) -> bytes:
    return json.dumps({"version": RECORD_VERSION, "epoch": epoch}).encode()
