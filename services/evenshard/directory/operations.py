"""Operations: long acts as records, each in one key, changed by compare-and-swap along one table. Decides, does no IO.

Whoever drives an operation asks ``next_effect`` what to do, does it, and says how that went as a signal; ``after`` is
the record then. Every effect may be repeated: a driver may end between doing it and saying so.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, assert_never, get_args

from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, ShardId, TenantId

RECORD_VERSION: Final = 2
"""2: it may be paused, and of a kind that version 1 does not know; others are still written as version 1."""
UNFINISHED_MAX: Final = 1000
"""Of a tenant; more are refused until some have ended."""
FINISHED_MAX: Final = 1000
"""Of a tenant that are kept, the newest."""
FINISHED_KEPT_MS: Final = 30 * 86_400_000
"""How long one that has ended is kept."""

Kind = Literal["delete-users", "repair", "repair-undo"]
State = Literal["planned", "running", "complete", "cancelled", "failed"]
Effect = Literal["start", "hide", "purge", "repair"]
STATES: Final[tuple[State, ...]] = get_args(State)


@dataclass(frozen=True, slots=True)
class Started:
    """Somebody drives it; from now on it may have effects."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody does not want it any more."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """Every shard has hidden the users; their marks and counts have ended."""

    rows: int
    """That are hidden and not removed yet, as far as shards have counted."""


@dataclass(frozen=True, slots=True)
class Noted:
    """It goes on: how far it is, and what it waits for."""

    error: str
    """Empty: nothing."""
    shards_left: tuple[ShardId, ...]
    """Those it waits for."""
    rows_done: int
    rows_total: int


@dataclass(frozen=True, slots=True)
class Purged:
    """No shard has bytes of it any more."""

    rows: int
    """That were rewritten for it."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Plan and outcome were compared."""

    differences: tuple[str, ...] = ()
    """None: they are the same."""


@dataclass(frozen=True, slots=True)
class Done:
    """All of it is done."""

    rows: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """It was given up before it changed anything; what it had prepared is gone."""


@dataclass(frozen=True, slots=True)
class Paused:
    """It is to wait."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """It may go on."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It can never be done."""

    error: str


Signal = Started | Cancelled | Hidden | Noted | Purged | Done | Dropped | Paused | Resumed | Failed

TRANSITIONS: Final[Mapping[tuple[State, type[Signal]], State]] = {
    ("planned", Started): "running",
    ("planned", Cancelled): "cancelled",
    ("planned", Paused): "planned",
    ("planned", Resumed): "planned",
    ("planned", Failed): "failed",
    ("running", Noted): "running",
    ("running", Hidden): "running",
    ("running", Purged): "complete",
    ("running", Done): "complete",
    ("running", Dropped): "cancelled",
    ("running", Paused): "running",
    ("running", Resumed): "running",
    ("running", Failed): "failed",
}
"""The state after a signal; a pair that is not here is refused."""
_SINCE_2: Final = frozenset(["paused", "bytes_total"])
ENDED: Final[frozenset[State]] = frozenset(STATES) - {state for state, _ in TRANSITIONS}


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation's record."""

    id: OperationId
    kind: Kind
    tenant: TenantId
    users: int
    """How many it is about; who they are stands in a key of its own, which for deletions goes when it has ended."""
    requested_by: str
    """The principal."""
    created_ms: int
    changed_ms: int
    nonce: str
    """Written anew by each change, so that a writer whose reply was lost recognises its own record."""
    state: State = "planned"
    hidden_ms: int | None = None
    """Since when the users are hidden on every shard; None: they are not yet."""
    shards_left: tuple[ShardId, ...] = ()
    """Shards it waits for."""
    rows_done: int = 0
    rows_total: int = 0
    error: str = ""
    """Why it failed, or what it waits for; empty: nothing."""
    paused: bool = False
    bytes_total: int = 0
    """Of the rows that it is about."""

    @property
    def ended(self) -> bool:
        """Nothing happens to it any more."""
        return self.state in ENDED

    def to_json(self) -> bytes:
        record = asdict(self)
        if self.kind == "delete-users" and not self.paused:
            record = {name: value for name, value in record.items() if name not in _SINCE_2}
            return json.dumps({"version": 1, **record}).encode()
        return json.dumps({"version": RECORD_VERSION, **record}).encode()

    @staticmethod
    def from_json(data: bytes) -> "Operation":
        """Raises ``FORMAT_TOO_NEW`` for what a newer evenshard wrote."""
        record: dict[str, Any] = json.loads(data)
        version, kind = record.pop("version"), record["kind"]
        if version > RECORD_VERSION or kind not in get_args(Kind):
            raise EvenshardError("FORMAT_TOO_NEW", f"operation {record['id']} is of kind {kind!r}, version {version}")
        record["shards_left"] = tuple(record["shards_left"])
        return Operation(**record)


def operation_id(created_ms: int, chance: str) -> OperationId:
    """The time first, so that ids sort by it."""
    return OperationId(f"{created_ms:012x}-{chance}")


def next_effect(operation: Operation) -> Effect | None:
    """What its driver does now; None: it has ended, or waits to be resumed."""
    if operation.ended or operation.paused:
        return None
    if operation.state == "planned":
        return "start"
    if operation.kind != "delete-users":
        return "repair"
    return "hide" if operation.hidden_ms is None else "purge"


def after(operation: Operation, signal: Signal, now_ms: int, nonce: str) -> Operation:
    """The record after ``signal``. Raises ``OPERATION_STATE`` where its state does not allow it."""
    state = TRANSITIONS.get((operation.state, type(signal)))
    if state is None:
        raise refused(operation, type(signal).__name__.lower())
    changed = replace(operation, state=state, changed_ms=now_ms, nonce=nonce)
    match signal:
        case Started() | Cancelled() | Dropped():
            return replace(changed, shards_left=(), error="")
        case Paused() | Resumed():
            return replace(changed, paused=isinstance(signal, Paused))
        case Done(rows):
            total = max(rows, changed.rows_total)
            return replace(changed, rows_done=total, rows_total=total, shards_left=(), error="")
        case Hidden(rows):
            return replace(changed, hidden_ms=now_ms, rows_total=max(rows, 0), shards_left=(), error="")
        case Noted(error, shards_left, rows_done, rows_total):
            return replace(
                changed,
                error=error,
                shards_left=shards_left,
                rows_done=rows_done,
                rows_total=max(rows_total, rows_done),
            )
        case Purged(rows):
            rows = max(rows, changed.rows_done)
            return replace(changed, rows_done=rows, rows_total=rows, shards_left=(), error="")
        case Failed(error):
            return replace(changed, shards_left=(), error=error)
    assert_never(signal)


def refused(operation: Operation, act: str) -> EvenshardError:
    """``OPERATION_STATE``, with a sentence that says why."""
    hint = ""
    if operation.state == "running":
        hint = "what it has hidden stays hidden; wait for its end: evenshard admin wait " + operation.id
    return EvenshardError(
        "OPERATION_STATE",
        f"operation {operation.id} is {operation.state}: it cannot be {act} any more",
        hint=hint,
        details={"operation": operation.id, "state": operation.state},
    )


def not_found(operation: str) -> EvenshardError:
    return EvenshardError("OPERATION_NOT_FOUND", f"there is no operation {operation!r}")


def check_room(tenant: TenantId, operations: Iterable[Operation]) -> None:
    """Raises ``LIMIT_EXCEEDED`` where a tenant has too many unfinished ones among ``operations``."""
    unfinished = sum(operation.tenant == tenant and not operation.ended for operation in operations)
    if unfinished >= UNFINISHED_MAX:
        raise EvenshardError("LIMIT_EXCEEDED", f"tenant {tenant!r} has {unfinished:,} operations that have not ended")


def prunable(operations: Iterable[Operation], now_ms: int) -> list[Operation]:
    """Those that ended too long ago, or behind too many newer ones of their tenant."""
    kept: dict[TenantId, int] = {}
    found = []
    for operation in sorted(operations, key=lambda each: each.id, reverse=True):
        if not operation.ended:
            continue
        kept[operation.tenant] = kept.get(operation.tenant, 0) + 1
        if kept[operation.tenant] > FINISHED_MAX or now_ms - operation.changed_ms > FINISHED_KEPT_MS:
            found.append(operation)
    return found
