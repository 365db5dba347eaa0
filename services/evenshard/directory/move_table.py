"""How a move goes from state to state: signals, the table, effects. Data and pure functions; ``docs/moves.md`` is drawn
from it.

The source owns the slots, whatever else happens, until ``switched``, and the target from then on until it is rolled
back; both changes are one swap of the directory with the tenant's placement. ``fenced`` is the state in which nobody
takes writes of the slots: forward on the source, on the way ``back`` on the target.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from evenshard.directory.moves import Move, Wish

MoveEffect = Literal["copy", "follow", "switch", "ship_back", "switch_back", "give_up", "take_back", "finish"]


@dataclass(frozen=True, slots=True)
class Progressed:
    """Its followers say how far they are."""

    rows_done: int
    rows_total: int
    bytes_done: int
    bytes_total: int
    lag_rows: int
    eta_seconds: float | None = None
    error: str = ""
    """What it waits for; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Copied:
    """Every target has what its source had, and follows its log from there."""


@dataclass(frozen=True, slots=True)
class Recopies:
    """A target lost what it had: it copies anew."""


@dataclass(frozen=True, slots=True)
class CopiesAnew:
    """Both sides were found not to be the same: who follows copies everything once more."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """From now on the sources may be told to take no more writes of the slots."""


@dataclass(frozen=True, slots=True)
class Unfenced:
    """The fence came to nothing: sources take writes again. Also a source proposes it, that sees no switch in time."""

    error: str = ""
    differences: tuple[str, ...] | None = None
    """That were found; None: it did not come to comparing."""


@dataclass(frozen=True, slots=True)
class Switched:
    """The targets own the slots: said in the very swap that changes the placement."""

    fenced_ms: float
    positions: tuple[int, ...] = ()
    """Of each leg, where in its target's log the source begins to follow."""


@dataclass(frozen=True, slots=True)
class FencedBack:
    """As ``Fenced``, of the targets, on the way back."""


@dataclass(frozen=True, slots=True)
class UnfencedBack:
    """As ``Unfenced``, of the targets, on the way back."""

    error: str = ""
    differences: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class SwitchedBack:
    """The sources own the slots again: said in the very swap that changes the placement."""

    fenced_ms: float


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody does not want it any more."""


@dataclass(frozen=True, slots=True)
class RollbackAsked:
    """Somebody wants the slots back where they were."""


@dataclass(frozen=True, slots=True)
class CompleteAsked:
    """Somebody is content: the sources may forget."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The targets have dropped what they had; the sources own everything."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The sources have dropped what they had."""


MoveSignal = (
    Progressed
    | Copied
    | Recopies
    | CopiesAnew
    | Fenced
    | Unfenced
    | Switched
    | FencedBack
    | UnfencedBack
    | SwitchedBack
    | CancelAsked
    | RollbackAsked
    | CompleteAsked
    | RolledBack
    | Completed
)
MoveState = Literal[
    "planned", "copying", "catching_up", "fenced", "switched", "complete", "cancelled", "rolled_back", "failed"
]

OF_MOVES: Final[Mapping[tuple[str, type[MoveSignal]], MoveState]] = {
    ("copying", Progressed): "copying",
    ("copying", Copied): "catching_up",
    ("copying", CancelAsked): "copying",
    ("catching_up", Progressed): "catching_up",
    ("catching_up", Recopies): "copying",
    ("catching_up", CopiesAnew): "copying",
    ("catching_up", Fenced): "fenced",
    ("catching_up", CancelAsked): "catching_up",
    ("catching_up", RolledBack): "rolled_back",
    ("fenced", Unfenced): "catching_up",
    ("fenced", Switched): "switched",
    ("fenced", UnfencedBack): "switched",
    ("fenced", SwitchedBack): "catching_up",
    ("switched", Progressed): "switched",
    ("switched", CopiesAnew): "switched",
    ("switched", RollbackAsked): "switched",
    ("switched", FencedBack): "fenced",
    ("switched", CompleteAsked): "switched",
    ("switched", Completed): "complete",
}
"""The state after a signal that only moves have; those that all operations have stand in ``operations``."""

WISHES: Final[Mapping[type[MoveSignal], Wish]] = {
    CancelAsked: "cancel",
    RollbackAsked: "rollback",
    CompleteAsked: "complete",
}


def allows(move: Move, signal: object) -> bool:
    """Whether the way it is on, and what was asked of it, let ``signal`` come, where its state does."""
    if isinstance(signal, CancelAsked | RollbackAsked | CompleteAsked):
        return move.wish in ("", WISHES[type(signal)])
    match signal:
        case Unfenced() | Switched():
            return not move.back
        case UnfencedBack() | SwitchedBack():
            return move.back
        case Fenced():
            return not move.wish
        case CopiesAnew():
            return bool(move.differences) and move.wish in ("", "rollback")
        case FencedBack() | RolledBack():
            return move.wish == "rollback"
        case Completed():
            return move.wish == "complete"
    return True


def move_after(move: Move, signal: MoveSignal) -> Move:
    """What a move has after a signal that came."""
    match signal:
        case CancelAsked() | RollbackAsked() | CompleteAsked():
            return replace(move, wish=WISHES[type(signal)])
        case Progressed():
            return replace(move, bytes_done=signal.bytes_done, lag_rows=signal.lag_rows, eta_seconds=signal.eta_seconds)
        case Copied() | Recopies():
            return replace(move, eta_seconds=None)
        case CopiesAnew():
            return replace(move, copies=move.copies + 1, differences=None, eta_seconds=None)
        case Fenced():
            return replace(move, back=False)
        case FencedBack():
            return replace(move, back=True)
        case Unfenced() | UnfencedBack():
            found = move.differences if signal.differences is None else signal.differences
            return replace(move, back=False, fences=move.fences + 1, differences=found)
        case Switched() | SwitchedBack():
            kept = signal.positions if isinstance(signal, Switched) else move.positions
            return replace(
                move, back=False, fences=0, fenced_ms=signal.fenced_ms, lag_rows=0, differences=(), positions=kept
            )
    return move


def move_effect(state: MoveState, move: Move) -> MoveEffect | None:
    """What its driver does next, unless it is paused; None: it has ended, or has not begun."""
    match state:
        case "copying" | "catching_up" if move.wish == "cancel":
            return "give_up"
        case "copying":
            return "copy"
        case "catching_up":
            return "take_back" if move.wish == "rollback" else "follow"
        case "fenced":
            return "switch_back" if move.back else "switch"
        case "switched":
            return "finish" if move.wish == "complete" else "ship_back"
    return None


def unfencing(move: Move, error: str = "", differences: tuple[str, ...] | None = None) -> Unfenced | UnfencedBack:
    """What ends a fence that came to nothing."""
    return UnfencedBack(error, differences) if move.back else Unfenced(error, differences)
