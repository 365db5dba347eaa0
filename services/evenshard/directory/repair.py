"""Repairs of hot keys: what may be asked, what is written down, in which steps it comes about. Decides, does no IO.

Nothing changes an answer but the step ``switch`` (or ``mark``): until then a repair may be cancelled, and each step may
be done again. Layers are named by the operation: ``taken`` are the key's rows, ``brought`` those that come.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from typing import Any, Final, Literal, get_args

from evenshard.errors import EvenshardError, FieldFault
from evenshard.events.limits import DISTINCT_ID_BYTES_MAX
from evenshard.ids import OperationId, ShardId, TenantId

RECORD_VERSION: Final = 1
UNDO_KEPT_MS: Final = 7 * 86_400_000
"""How long after its end a repair can be undone; then what it deleted is removed."""
DAYS_MAX: Final = 100
"""Days of one key in one repair: their marks change in one swap of the directory."""
EXAMPLES_MAX: Final = 5
LEFT_LISTED_MAX: Final = 100

Verb = Literal["repair", "repair-undo"]
Action = Literal["restore", "reassign", "delete", "export"]
Step = Literal["mark", "take", "copy", "prepare", "switch", "settle", "drop", "end"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
STEPS: Final[Mapping[Action, tuple[Step, ...]]] = {
    "restore": ("mark", "end"),
    "reassign": ("take", "copy", "prepare", "switch", "settle", "end"),
    "delete": ("take", "prepare", "switch", "settle", "end"),
    "export": ("end",),
}
UNDOING: Final[Mapping[Action, tuple[Step, ...]]] = {
    "restore": ("mark", "end"),
    "reassign": ("prepare", "switch", "settle", "end"),
    "delete": ("copy", "prepare", "switch", "settle", "end"),
}
BEFORE_SWITCH: Final[frozenset[Step]] = frozenset(["take", "copy", "prepare", "switch"])
"""In these nothing has changed for anybody."""
_EPOCH_DAY: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows, and a digest of them."""

    rows: int = 0
    digest: int = 0


@dataclass(frozen=True, slots=True)
class RepairRequest:
    """What somebody asks for."""

    tenant: TenantId
    distinct_id: str
    first_day: int
    last_day: int
    action: Action
    distinct_id_from: str = ""
    include_earlier: bool = False

    @property
    def days(self) -> range:
        return range(self.first_day, self.last_day + 1)

    @property
    def takes_kept(self) -> bool:
        """Whether it is about the events of before the key was hot too."""
        return self.include_earlier or self.action in ("delete", "export")


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair, or the undoing of one, as the directory holds it beside its operation."""

    operation: OperationId
    tenant: TenantId
    distinct_id: str
    """Empty: its user was deleted since."""
    days: tuple[int, ...]
    """On which the key is hot; ascending."""
    action: Action
    distinct_id_from: str
    include_earlier: bool
    step: Step
    undoes: OperationId | None = None
    undone_by: OperationId | None = None
    ended_ms: int | None = None
    """When it was complete."""
    removed: bool = False
    """What it deleted is gone: it cannot be undone any more."""
    taken: Mapping[str, Counted] | None = None
    """By shard; None: not known yet."""
    brought: Mapping[str, Counted] | None = None
    copied: tuple[str, ...] = ()
    """Shards whose rows were copied whole."""
    sent: Counted = Counted()
    """Of all that were copied."""
    shown_before: Mapping[str, str] | None = None
    """Of marks, by day: the mode before."""

    @property
    def taken_layer(self) -> str:
        return f"{self.operation}.taken"

    @property
    def foreign_layer(self) -> str:
        """Of a deletion: what other shards keep of the identities at the key's home."""
        return f"{self.operation}.foreign"

    @property
    def brought_layer(self) -> str:
        return f"{self.operation}.brought"

    @property
    def steps(self) -> tuple[Step, ...]:
        return STEPS[self.action] if self.undoes is None else UNDOING[self.action]

    def of_nobody(self) -> "Repair":
        """As it is kept once its user was deleted."""
        return replace(self, distinct_id="")

    def next(self) -> "Repair":
        """At its next step."""
        return replace(self, step=self.steps[self.steps.index(self.step) + 1])

    def to_json(self) -> bytes:
        return json.dumps({"version": RECORD_VERSION, **asdict(self)}).encode()

    @staticmethod
    def from_json(data: bytes) -> "Repair":
        """Raises ``FORMAT_TOO_NEW`` for what a newer evenshard wrote."""
        record: dict[str, Any] = json.loads(data)
        if record.pop("version") > RECORD_VERSION:
            raise EvenshardError("FORMAT_TOO_NEW", f"repair {record['operation']} is of a newer version")
        for name in ("taken", "brought"):
            if record[name] is not None:
                record[name] = {shard: Counted(**counted) for shard, counted in record[name].items()}
        record["sent"] = Counted(**record["sent"])
        return Repair(**{**record, "days": tuple(record["days"]), "copied": tuple(record["copied"])})


def day_of(text: str, field: str) -> int:
    """Days since the epoch of ``YYYY-MM-DD``. Raises ``RANGE_INVALID``."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.isoformat() != text:
        raise EvenshardError(
            "RANGE_INVALID", f"{text!r} is not a date", fields=(FieldFault(field, "not a date YYYY-MM-DD"),)
        )
    return (found - _EPOCH_DAY).days


def day_text(day: int) -> str:
    return (_EPOCH_DAY + timedelta(days=day)).isoformat()


def repair_request(
    tenant: TenantId,
    distinct_id: str,
    from_date: str,
    to_date: str,
    action: str,
    distinct_id_from: str,
    *,
    include_earlier: bool,
) -> RepairRequest:
    """Raises ``QUERY_INVALID`` and ``RANGE_INVALID``, naming what is wrong."""
    if not distinct_id:
        raise _wrong("distinct_id", "no distinct_id is named: the empty one is nobody's, and never hot")
    if len(distinct_id.encode()) > DISTINCT_ID_BYTES_MAX:
        raise _wrong("distinct_id", f"longer than {DISTINCT_ID_BYTES_MAX} bytes, as no distinct_id is")
    if action not in ACTIONS:
        raise _wrong("action", f"{action!r} is none of {', '.join(ACTIONS)}")
    if action == "reassign" and not distinct_id_from:
        raise _wrong("distinct_id_from", "reassign needs the property that holds the right distinct_id")
    if distinct_id_from and action not in ("reassign", "export"):
        raise _wrong("distinct_id_from", f"{action} takes no other distinct_id")
    if include_earlier and action == "restore":
        raise _wrong("include_earlier", "events of before the key was hot are as they came: nothing is to be restored")
    first, last = day_of(from_date, "from_date"), day_of(to_date, "to_date")
    if last < first:
        fault = FieldFault("to_date", "before from_date")
        raise EvenshardError("RANGE_INVALID", f"{from_date} is after {to_date}", fields=(fault,))
    return RepairRequest(tenant, distinct_id, first, last, action, distinct_id_from, include_earlier)


def hot_days(request: RepairRequest, marked: Collection[int]) -> tuple[int, ...]:
    """Of the days asked for those with a mark. Raises ``HOT_KEY_NOT_FOUND``, ``LIMIT_EXCEEDED``."""
    days = tuple(sorted(day for day in marked if day in request.days))
    if not days:
        raise EvenshardError(
            "HOT_KEY_NOT_FOUND",
            f"{request.distinct_id!r} of {request.tenant!r} is not hot on any UTC date from"
            f" {day_text(request.first_day)} to {day_text(request.last_day)}",
        )
    if len(days) > DAYS_MAX:
        raise _wrong("to_date", f"the key is hot on {len(days)} days: repair at most {DAYS_MAX} at once")
    return days


def begun(operation: OperationId, request: RepairRequest, days: tuple[int, ...]) -> Repair:
    """A repair's first record."""
    return Repair(
        operation,
        request.tenant,
        request.distinct_id,
        days,
        request.action,
        request.distinct_id_from,
        request.include_earlier,
        STEPS[request.action][0],
    )


def undoing(operation: OperationId, repair: Repair, state: str, now_ms: int) -> Repair:
    """The record of what takes a repair back. Raises ``OPERATION_STATE`` where that cannot be."""
    why = ""
    if repair.undoes is not None:
        why = "it is an undo itself: repair the key again"
    elif repair.undone_by is not None:
        why = f"operation {repair.undone_by} has undone it, or is about to"
    elif repair.action == "export":
        why = "an export changes nothing"
    elif not repair.distinct_id:
        why = "its user was deleted since"
    elif state != "complete":
        why = f"it is {state}: only what is complete can be undone"
    elif repair.removed or (repair.ended_ms is not None and now_ms - repair.ended_ms > UNDO_KEPT_MS):
        why = f"it ended more than {UNDO_KEPT_MS // 86_400_000} days ago"
    if why:
        details = {"operation": str(repair.operation), "state": state}
        raise EvenshardError(
            "OPERATION_STATE", f"operation {repair.operation} cannot be undone: {why}", details=details
        )
    return replace(
        repair,
        operation=operation,
        undoes=repair.operation,
        step=UNDOING[repair.action][0],
        ended_ms=None,
        brought=None,
        copied=(),
        sent=Counted(),
    )


def is_removable(repair: Repair, now_ms: int, complete: Collection[OperationId]) -> bool:
    """Whether what it deleted is to go now: nobody can undo it any more, or somebody has, by one of ``complete``."""
    if repair.action != "delete" or repair.removed or repair.undoes is not None or repair.ended_ms is None:
        return False
    if repair.undone_by is not None:
        return repair.undone_by in complete
    return now_ms - repair.ended_ms > UNDO_KEPT_MS


def summed(counted: Iterable[Counted]) -> Counted:
    rows = digest = 0
    for each in counted:
        rows, digest = rows + each.rows, (digest + each.digest) % (1 << 64)
    return Counted(rows, digest)


def differences(planned: Mapping[str, Counted] | None, found: Mapping[ShardId, Counted], what: str) -> tuple[str, ...]:
    """Where what is there is not what was planned, for people."""
    told = []
    for shard, wanted in sorted((planned or {}).items()):
        there = found.get(ShardId(shard), Counted())
        if there.rows != wanted.rows:
            told.append(f"{shard}: {there.rows:,} {what} events where {wanted.rows:,} were planned")
        elif there.digest != wanted.digest:
            told.append(f"{shard}: the {what} events are {wanted.rows:,} as planned, but not the same")
    return tuple(told)


def _wrong(field: str, problem: str) -> EvenshardError:
    return EvenshardError("QUERY_INVALID", problem, fields=(FieldFault(field, problem),))
