"""What operators changed: who, what, before and after, written in the very swap that made the change."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from evenshard.directory.keys import audit_key
from evenshard.ports.directory import Entry, Put

RECORD_VERSION: Final = 1
KEPT_MAX: Final = 10_000
"""Changes that are kept, the newest."""


@dataclass(frozen=True, slots=True)
class Audited:
    """One change."""

    at_ms: int
    who: str
    """The principal."""
    verb: str
    subject: str
    """A tenant, a shard or an operation."""
    before: Mapping[str, Any] = field(default_factory=dict)
    """Empty: it was not there."""
    after: Mapping[str, Any] = field(default_factory=dict)
    """Empty: it is not there."""

    def put(self, nonce: str) -> Put:
        """Its record; keys sort by time."""
        record = {"version": RECORD_VERSION, **asdict(self)}
        return Put(audit_key(f"{self.at_ms:013d}-{nonce}"), json.dumps(record).encode())

    @staticmethod
    def from_json(data: bytes) -> "Audited":
        """Raises ``ValueError`` or ``TypeError``."""
        record: dict[str, Any] = json.loads(data)
        del record["version"]
        return Audited(**record)


def surplus_keys(entries: Sequence[Entry]) -> list[str]:
    """Those of the oldest changes, which are kept no longer."""
    return sorted(entry.key for entry in entries)[: max(0, len(entries) - KEPT_MAX)]
