"""The hand-over of a key from its home to the overflow, as a table: what its driver does next, and the mark then. Pure.

Every effect may be repeated, by the same driver or by another one: all of them ask the same mark.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, assert_never

from evenshard.hotkeys.marks import HotKey, Mark, Overflow, State

Effect = Literal["place", "hand over", "record"]
"""``place``: give the tenant an overflow where it has none, and pin it. ``hand over``: all shards of the tenant know of
it, the home seals the key and its identities are kept where the overflow brings them; then ``record``: the audit event
is written."""


@dataclass(frozen=True, slots=True)
class Placed:
    """The tenant has this overflow."""

    overflow: Overflow


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Every shard of the overflow that was pinned knows all identities that its home has; the record is written."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The record of a key that stays where it is was written."""


Signal = Placed | HandedOver | Recorded

TRANSITIONS: Final[Mapping[tuple[State, type[Signal]], State]] = {
    ("crossing", Placed): "crossing",
    ("crossing", HandedOver): "active",
    ("crossing", Recorded): "active",
}
"""The state after a signal; a pair that is not here is refused."""


def next_effect(mark: Mark, overflow: Overflow) -> Effect | None:
    """What its driver does now, where the tenant has this ``overflow``; None: nothing is left to do."""
    if mark.state == "active":
        return None
    if mark.mode == "observe":
        return "record"
    return "hand over" if mark.overflow and mark.overflow == overflow else "place"


def after(mark: Mark, signal: Signal) -> Mark:
    """The mark after ``signal``. Raises ``ValueError`` where its state does not allow it."""
    state = TRANSITIONS.get((mark.state, type(signal)))
    if state is None:
        raise ValueError(f"a mark that is {mark.state} cannot be {type(signal).__name__}")
    match signal:
        case Placed(overflow):
            return replace(mark, state=state, overflow=overflow)
        case HandedOver() | Recorded():
            return replace(mark, state=state)
    assert_never(signal)


def record_insert_id(key: HotKey) -> str:
    """Of the audit event of a key: printable ASCII, and the same whoever writes it."""
    tenant, distinct_id, day = key
    digest = hashlib.sha256(f"{tenant}/{day}/{distinct_id}".encode()).hexdigest()
    return f"$hot-{digest[:40]}"
