"""What operators changed: who, what, before and after, written in the very swap that made the change."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from evenshard.directory.keys import audit_key
from evenshard.ids import Revision
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

    def concerns(self, subject: str) -> bool:
        """Whether it changed ``subject``, or moved slots of it, from it or to it."""
        moves = [move for told in (self.before, self.after) for move in told.get("moves", ())]
        return subject == self.subject or any(subject in (move["tenant"], move["from"], move["to"]) for move in moves)

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


def in_order(entries: Iterable[Entry]) -> list[tuple[Revision, Audited]]:
    """Changes as they came: by the revision of the swap that made each. Clocks of routers do not tell it, nor do keys
    of one millisecond."""
    found = sorted(((entry.revision, entry.value) for entry in entries), key=lambda each: each[0])
    return [(revision, Audited.from_json(value)) for revision, value in found]


def surplus_keys(entries: Sequence[Entry]) -> list[str]:
    """Those of the oldest changes, which are kept no longer."""
    by_age = sorted(entries, key=lambda entry: entry.revision)
    return [entry.key for entry in by_age[: max(0, len(entries) - KEPT_MAX)]]
