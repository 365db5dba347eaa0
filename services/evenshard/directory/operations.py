"""Operations: long acts as records, each in one key, changed by compare-and-swap along one table. Decides, does no IO.

Whoever drives an operation asks ``next_effect`` what to do, does it, and says how that went as a signal; ``after`` is
the record then. Every effect may be repeated: a driver may end between doing it and saying so.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, cast, get_args

from evenshard.directory.move_table import (
    OF_MOVES,
    MoveSignal,
    MoveState,
    Progressed,
    Unfenced,
    UnfencedBack,
    allows,
    move_after,
    move_effect,
)
from evenshard.directory.moves import FENCES_WITHOUT_SWITCH_MAX, Move
from evenshard.errors import EvenshardError
from evenshard.ids import OperationId, ShardId, TenantId

RECORD_VERSION: Final = 3
"""3: it moves slots. Others are still written as version 2, or as 1, which cannot be paused and only deletes users."""
UNFINISHED_MAX: Final = 1000
"""Of a tenant; more are refused until some have ended."""
FINISHED_MAX: Final = 1000
"""Of a tenant that are kept, the newest."""
FINISHED_KEPT_MS: Final = 30 * 86_400_000
"""How long one that has ended is kept."""

MoveKind = Literal["move", "split", "merge", "isolate"]
GroupKind = Literal["drain", "rebalance"]
"""Moves of several tenants, one operation each, as one."""
Kind = Literal["delete-users", "repair", "repair-undo"] | MoveKind | GroupKind
State = Literal[
    "planned",
    "running",
    "copying",
    "catching_up",
    "fenced",
    "switched",
    "complete",
    "cancelled",
    "rolled_back",
    "failed",
]
Effect = Literal["start", "hide", "purge", "repair", "move", "group"]
STATES: Final[tuple[State, ...]] = get_args(State)
MOVE_KINDS: Final[frozenset[str]] = frozenset(get_args(MoveKind))
GROUP_KINDS: Final[frozenset[str]] = frozenset(get_args(GroupKind))
KINDS: Final[frozenset[str]] = frozenset(["delete-users", "repair", "repair-undo"]) | MOVE_KINDS | GROUP_KINDS
ALL_TENANTS: Final = TenantId("")
"""Of operations that are about no tenant alone."""


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
    error: str = ""
    """What was left undone; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """It was given up before it changed anything; what it had prepared is gone."""


@dataclass(frozen=True, slots=True)
class Undone:
    """What it had moved is where it was before."""

    error: str = ""
    """What is not; empty: all is."""


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


Signal = Started | Cancelled | Hidden | Noted | Purged | Done | Dropped | Undone | Paused | Resumed | Failed
"""Of any operation; moves have more."""

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
    ("running", Undone): "rolled_back",
    ("running", Paused): "running",
    ("running", Resumed): "running",
    ("running", Failed): "failed",
}
"""The state after a signal; a pair that is not here is refused."""
MOVE_TRANSITIONS: Final[Mapping[tuple[str, type[Any]], State]] = {
    ("planned", Started): "copying",
    ("planned", Noted): "planned",
    ("planned", Cancelled): "cancelled",
    ("planned", Failed): "failed",
    ("copying", Dropped): "cancelled",
    ("catching_up", Dropped): "cancelled",
    **{
        (state, signal): state
        for state in get_args(Literal["planned", "copying", "catching_up", "switched"])
        for signal in (Paused, Resumed)
    },
    **{(state, Failed): "failed" for state in ("copying", "catching_up", "fenced", "switched")},
    **OF_MOVES,
}
"""The same of operations that move slots."""
_SINCE_2: Final = frozenset(["paused", "bytes_total"])
_SINCE_3: Final = frozenset(["move"])
ENDED: Final[frozenset[State]] = (
    frozenset(STATES) - {state for state, _ in TRANSITIONS} - {state for state, _ in MOVE_TRANSITIONS}
)


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
    move: Move | None = None
    """Of those that move slots."""

    @property
    def ended(self) -> bool:
        """Nothing happens to it any more."""
        return self.state in ENDED

    def to_json(self) -> bytes:
        version, later = RECORD_VERSION, frozenset[str]()
        if self.kind == "delete-users" and not self.paused:
            version, later = 1, _SINCE_2 | _SINCE_3
        elif self.move is None and self.kind not in GROUP_KINDS:
            version, later = 2, _SINCE_3
        record = {name: value for name, value in asdict(self).items() if name not in later}
        return json.dumps({"version": version, **record}).encode()

    @staticmethod
    def from_json(data: bytes) -> "Operation":
        """Raises ``FORMAT_TOO_NEW`` for what a newer evenshard wrote."""
        record: dict[str, Any] = json.loads(data)
        version, kind = record.pop("version"), record["kind"]
        if version > RECORD_VERSION or kind not in KINDS:
            raise EvenshardError("FORMAT_TOO_NEW", f"operation {record['id']} is of kind {kind!r}, version {version}")
        record["shards_left"] = tuple(record["shards_left"])
        if record.get("move") is not None:
            record["move"] = Move.from_record(record["move"])
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
    if operation.move is not None:
        return "move" if move_effect(cast(MoveState, operation.state), operation.move) else None
    if operation.kind in GROUP_KINDS:
        return "group"
    if operation.kind != "delete-users":
        return "repair"
    return "hide" if operation.hidden_ms is None else "purge"


def after(operation: Operation, signal: Signal | MoveSignal, now_ms: int, nonce: str) -> Operation:
    """The record after ``signal``. Raises ``OPERATION_STATE`` where its state does not allow it."""
    table = TRANSITIONS if operation.move is None else MOVE_TRANSITIONS
    state = table.get((operation.state, type(signal)))  # type: ignore[arg-type]
    if state is None or (operation.move is not None and not allows(operation.move, signal)):
        raise refused(operation, act_of(signal))
    changed = replace(operation, state=state, changed_ms=now_ms, nonce=nonce)
    match signal:
        case Started() | Cancelled() | Dropped():
            return replace(changed, shards_left=(), error="")
        case Paused() | Resumed():
            return replace(changed, paused=isinstance(signal, Paused))
        case Done(rows, error):
            total = max(rows, changed.rows_total)
            return replace(changed, rows_done=total, rows_total=total, shards_left=(), error=error)
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
        case Undone(error) | Failed(error):
            return replace(changed, shards_left=(), error=error)
    return _moved(changed, signal)


def _moved(changed: Operation, signal: MoveSignal) -> Operation:
    """What all operations have, after a signal that only moves have; somebody's wish ends a pause."""
    assert changed.move is not None
    move = move_after(changed.move, signal)
    changed = replace(changed, move=move, shards_left=(), error="", paused=changed.paused and move.wish == "")
    match signal:
        case Progressed():
            return replace(
                changed,
                rows_done=signal.rows_done,
                rows_total=max(signal.rows_total, signal.rows_done),
                bytes_total=max(signal.bytes_total, signal.bytes_done),
                error=signal.error,
            )
        case Unfenced() | UnfencedBack():
            gives_up = move.fences >= FENCES_WITHOUT_SWITCH_MAX
            return replace(changed, error=signal.error, paused=changed.paused or gives_up)
    return changed


def act_of(signal: Signal | MoveSignal) -> str:
    """As in "it cannot be ... any more"."""
    words = {"CancelAsked": "cancelled", "RollbackAsked": "rolled back", "CompleteAsked": "completed"}
    name = type(signal).__name__
    return words.get(name, name.lower())


def refused(operation: Operation, act: str, wish: str = "") -> EvenshardError:
    """``OPERATION_STATE``, with a sentence that says why. ``wish``: what was asked of moves of several tenants."""
    hint = _hint(operation, act)
    if operation.state == "running" and operation.kind not in GROUP_KINDS:
        hint = "what it has hidden stays hidden; wait for its end: evenshard admin wait " + operation.id
    return EvenshardError(
        "OPERATION_STATE",
        f"operation {operation.id} is {_standing(operation, wish)}: it cannot be {act}{_when(operation, act)}",
        hint=hint,
        details={"operation": operation.id, "state": operation.state},
    )


def _standing(operation: Operation, wish: str) -> str:
    wish = operation.move.wish if operation.move else wish
    asked = {"cancel": "being cancelled", "rollback": "being rolled back", "complete": "being completed"}.get(wish)
    return operation.state if asked is None or operation.ended else f"{operation.state}, and {asked}"


def _when(operation: Operation, act: str) -> str:
    early = operation.move is not None and not operation.ended and operation.state != "switched"
    return " yet" if early and act in ("rolled back", "completed") else " any more"


def _hint(operation: Operation, act: str) -> str:
    """What to do instead with a move."""
    if operation.kind in GROUP_KINDS and operation.state in ("complete", "cancelled") and act == "rolled back":
        return "move back what is to go back: evenshard admin uncordon SHARD, then move, or rebalance"
    if operation.move is None:
        return ""
    match operation.state, act:
        case "switched", "cancelled":
            return f"take it back: evenshard admin rollback {operation.id}"
        case ("complete", _):
            return "plan a move back"
        case (("copying" | "catching_up"), ("rolled back" | "completed")):
            return f"it has not switched; end it: evenshard admin cancel {operation.id}"
    return ""


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
