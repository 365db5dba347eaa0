"""A mark says that a key is hot, for good, and what becomes of its events, whatever its tenant chooses later. Pure."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal, cast, get_args

from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId

Mode = Literal["rewrite", "salt", "observe"]
State = Literal["crossing", "active"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
MARK_VERSION: Final = 2
"""1: a key's rows stay at its home, whatever becomes of them; there is no state."""

HotKey = tuple[TenantId, str, int]
"""Tenant, distinct_id, UTC day (days since the epoch)."""
Overflow = tuple[tuple[int, int, ShardId], ...]
"""A slot map: the first and the last slot, both inclusive, and their shard; whole, or empty."""


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
    """Made when a key crosses its threshold, ``crossing``; becomes ``active`` once the key was handed over."""

    mode: Mode
    """As its events are shown now. A repair changes it, between ``rewrite`` and ``salt``; nothing else does."""
    threshold: int
    """The one that was crossed."""
    count: int
    """Of the key's events, as far as the router knew when it crossed."""
    nonce: str
    """Names this mark: another one of the same key, after its user was deleted, has another. It never changes."""
    state: State = "active"
    born: Mode = "rewrite"
    """The mode in which it crossed. The rows of one born as ``rewrite`` bear the hot bit, of others none does."""
    made_ms: int = 0
    """When it crossed, by its router's clock; 0: not known (version 1)."""
    overflow: Overflow = ()
    """Where the identities of its home go: the tenant's overflow when the hand-over began. Empty: it has not begun, or
    the key's rows stay at its home (``observe``, version 1)."""

    @property
    def has_hot_rows(self) -> bool:
        """Whether its rows bear the hot bit: they are shown rewritten while its mode is ``rewrite``."""
        return self.born == "rewrite"

    @property
    def is_spread(self) -> bool:
        """Whether its rows go by their identity over the tenant's overflow, not to its home."""
        return self.state == "active" and bool(self.overflow)

    def shown_as(self, mode: Mode) -> "Mark":
        """With another mode, what a repair changes. Raises ``ValueError`` where that is not between the two."""
        if self.born != "rewrite" or mode not in ("rewrite", "salt"):
            raise ValueError(f"a mark born as {self.born} cannot be shown as {mode}")
        return replace(self, mode=mode)

    def to_json(self) -> bytes:
        return json.dumps({"version": MARK_VERSION, **asdict(self)}).encode()

    @staticmethod
    def from_json(data: bytes) -> "Mark":
        """Raises ``FORMAT_TOO_NEW`` of a newer evenshard. Those of version 1 are active, without overflow."""
        record = json.loads(data)
        if record["version"] > MARK_VERSION:
            raise EvenshardError("FORMAT_TOO_NEW", f"a mark has version {record['version']}")
        return Mark(
            cast(Mode, record["mode"]),
            record["threshold"],
            record["count"],
            record["nonce"],
            cast(State, record.get("state", "active")),
            cast(Mode, record.get("born", record["mode"])),
            record.get("made_ms", 0),
            tuple((first, last, ShardId(shard)) for first, last, shard in record.get("overflow", ())),
        )
