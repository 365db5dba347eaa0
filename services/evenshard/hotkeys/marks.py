"""A mark says that a key is hot, for good, and what becomes of its events, whatever its tenant chooses later. Pure."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from evenshard.errors import EvenshardError
from evenshard.ids import TenantId

Mode = Literal["rewrite", "observe"]
MARK_VERSION = 1

HotKey = tuple[TenantId, str, int]
"""Tenant, distinct_id, UTC day (days since the epoch)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a tenant's settings say of its keys."""

    threshold: int
    """Stored, non-duplicate events of a key that stay as they are."""
    mode: Mode
    """What becomes of the next ones."""

    @property
    def count_min(self) -> int:
        """A key of which a router knows no count has fewer than this; half the threshold, at least 1."""
        return max(1, self.threshold // 2)


@dataclass(frozen=True, slots=True)
class Mark:
    """Written once, when a key crosses its threshold."""

    mode: Mode
    threshold: int
    """The one that was crossed."""
    count: int
    """Of the key's events, as far as the router knew when it crossed."""
    nonce: str

    def to_json(self) -> bytes:
        return json.dumps({"version": MARK_VERSION, **asdict(self)}).encode()

    @staticmethod
    def from_json(data: bytes) -> "Mark":
        """Raises ``FORMAT_TOO_NEW`` for a mark of a newer evenshard."""
        record = json.loads(data)
        if record["version"] > MARK_VERSION:
            raise EvenshardError("FORMAT_TOO_NEW", f"a mark has version {record['version']}")
        return Mark(record["mode"], record["threshold"], record["count"], record["nonce"])
