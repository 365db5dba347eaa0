"""Draws the table of moves for ``docs/moves.md``: a diagram and every row of it."""

from typing import Final, get_args

from evenshard.directory.move_table import MoveState, move_effect
from evenshard.directory.moves import Leg, Move, Wish
from evenshard.directory.operations import ENDED, MOVE_TRANSITIONS, Noted, Paused, Resumed
from evenshard.ids import ShardId

_OWNERS: Final = {
    "planned": ("source", "source"),
    "copying": ("source", "source"),
    "catching_up": ("source", "source"),
    "fenced": ("held, retried", "held, retried"),
    "switched": ("target; shipped back", "target"),
    "complete": ("target", "target"),
    "cancelled": ("source", "source"),
    "rolled_back": ("source", "source"),
    "failed": ("whoever has them", "whoever has them"),
}
_LEG: Final = Leg(ShardId("a"), ShardId("b"), ((0, 0),))


def drawn() -> str:
    """As Markdown."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, signal), following in MOVE_TRANSITIONS.items():
        if signal not in (Paused, Resumed, Noted) and state != following:
            arrows.setdefault((state, following), []).append(signal.__name__)
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> planned"]
    lines += [f"    {state} --> {to}: {', '.join(names)}" for (state, to), names in arrows.items()]
    lines += [f"    {state} --> [*]" for state in get_args(MoveState) if state in ENDED]
    lines += ["```", "", "| state | appends | scans | the driver does |", "|---|---|---|---|"]
    for state in get_args(MoveState):
        appends, scans = _OWNERS[state]
        lines.append(f"| `{state}` | {appends} | {scans} | {_does(state)} |")
    lines += ["", "| state | signal | then |", "|---|---|---|"]
    lines += [f"| `{state}` | `{signal.__name__}` | `{to}` |" for (state, signal), to in MOVE_TRANSITIONS.items()]
    return "\n".join(lines)


def _does(state: MoveState) -> str:
    """Its effects, with what was asked for them."""
    found: list[str] = []
    for wish in get_args(Wish):
        for back in (False, True) if state == "fenced" else (False,):
            effect = move_effect(state, Move((_LEG,), wish=wish, back=back))
            told = f"`{effect}`" if effect is not None else "–"
            if not any(told in each for each in found):
                found.append(told if not wish else f"{told} ({wish} asked)")
    return ", ".join(found) if len(found) == 1 or found[0] != "–" else found[0]
