"""What an operation that moves slots of several tenants has to do still; each tenant's move is an operation of its own.
Decides, does no IO.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from evenshard.directory.planning import PlannedMove
from evenshard.directory.shard_state import Use
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, ShardId, TenantId

RECORD_VERSION: Final = 2
"""2: it is taken back, or its shard was not active before. Others are still written as version 1."""
AT_ONCE: Final = 2
"""Tenants of one group that are moved at the same time."""
TROUBLES_NAMED_MAX: Final = 20

_SINCE_2: Final[Mapping[str, Any]] = {"is_taken_back": False, "is_turned": False, "use_before": "active"}


@dataclass(frozen=True, slots=True)
class Group:
    """Beside its operation, under the same id."""

    operation: OperationId
    pending: tuple[PlannedMove, ...]
    """Of one tenant behind each other."""
    shard: ShardId | None = None
    """The one that is drained: what comes to it meanwhile goes too. None: nothing is drained."""
    bytes_per_second: int = 0
    running: tuple[OperationId, ...] = ()
    is_cancelled: bool = False
    """Nothing more is begun, and what has not switched is cancelled."""
    rows_done: int = 0
    troubles: tuple[str, ...] = ()
    """Moves that did not come to their end, for people."""
    is_taken_back: bool = False
    """Nothing more is begun, and whatever has moved goes back to where it was."""
    is_turned: bool = False
    """Nothing of it is under way any more but the way back."""
    use_before: Use = "active"
    """Of the shard that is drained."""

    @property
    def wish(self) -> Literal["", "cancel", "rollback"]:
        """What somebody asked of it."""
        return "cancel" if self.is_cancelled else "rollback" if self.is_taken_back else ""

    @property
    def ends_what_it_began(self) -> bool:
        """What has not switched is cancelled."""
        return self.is_cancelled or (self.is_taken_back and not self.is_turned)

    @property
    def next_tenant(self) -> TenantId | None:
        return self.pending[0].tenant if self.pending and not self.is_cancelled else None

    def of(self, tenant: TenantId) -> tuple[PlannedMove, ...]:
        return tuple(move for move in self.pending if move.tenant == tenant)

    def without(self, tenant: TenantId) -> "Group":
        """Its moves were begun, or need not be any more."""
        return replace(self, pending=tuple(move for move in self.pending if move.tenant != tenant))

    def later(self, tenant: TenantId) -> "Group":
        """The others first."""
        return replace(self.without(tenant), pending=(*self.without(tenant).pending, *self.of(tenant)))

    def cancelled(self) -> "Group":
        return replace(self, is_cancelled=True)

    def taken_back(self) -> "Group":
        return replace(self, is_taken_back=True, pending=())

    def turned(self, way_back: tuple[PlannedMove, ...]) -> "Group":
        """From now on it moves what it has moved back."""
        return replace(self, is_turned=True, pending=way_back)

    def troubled(self, trouble: str) -> "Group":
        return replace(self, troubles=(*self.troubles, trouble)[-TROUBLES_NAMED_MAX:])

    def to_json(self) -> bytes:
        later = {name: getattr(self, name) for name in _SINCE_2}
        if later == _SINCE_2:
            record = {name: value for name, value in asdict(self).items() if name not in _SINCE_2}
            return json.dumps({"version": 1, **record}).encode()
        return json.dumps({"version": RECORD_VERSION, **asdict(self)}).encode()

    @staticmethod
    def from_json(data: bytes) -> "Group":
        """Raises ``FORMAT_TOO_NEW`` for what a newer evenshard wrote."""
        record: dict[str, Any] = json.loads(data)
        if record.pop("version") > RECORD_VERSION:
            raise EvenshardError("FORMAT_TOO_NEW", f"group {record['operation']} is of a newer version")
        pending = tuple(_planned(each) for each in record["pending"])
        running, troubles = tuple(record["running"]), tuple(record["troubles"])
        return Group(**{**record, "pending": pending, "running": running, "troubles": troubles})


def _planned(record: Mapping[str, Any]) -> PlannedMove:
    return PlannedMove(**{**record, "slots": (record["slots"][0], record["slots"][1])})
