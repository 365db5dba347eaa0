"""Regular expressions of filters: RE2, checked before a shard sees them.

RE2 takes time proportional to the text, whatever the pattern; the factor is at worst the pattern's size with its
repetitions written out, so that is bounded too: no pattern is catastrophic.
"""

import re
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

SIZE_MAX: Final = 1_000
"""Of a pattern with its repetitions written out: ``(ab){3}`` counts as ``ababab``."""
_PREFIX: Final = "Invalid regular expression: "
_PIECE: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d{1,9})(?:,(\d{0,9}))?\}|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PatternFault:
    """What is wrong with a pattern, and at which of its characters."""

    problem: str
    at: int


def fault_of_pattern(pattern: str) -> PatternFault | None:
    """None: RE2 takes it, and it is not too large."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        what, _, piece = str(error).removeprefix(_PREFIX).partition(": ")
        at = pattern.rfind(piece) if what.startswith(("missing", "unexpected")) else pattern.find(piece)
        if what == "missing )":
            at = _open_group(pattern)
        if what.startswith("trailing") or at < 0:
            at = max(0, len(pattern) - 1)
        return PatternFault(f"this regular expression is not one (RE2): {what}{f': {piece}' if piece else ''}", at)
    return _fault_of_size(pattern)


def _open_group(pattern: str) -> int:
    """Where the innermost group begins that is not closed; -1: there is none."""
    begun: list[int] = []
    for piece in _PIECE.finditer(pattern):
        if piece[0] == "(":
            begun.append(piece.start())
        elif piece[0] == ")" and begun:
            begun.pop()
    return begun[-1] if begun else -1


def _fault_of_size(pattern: str) -> PatternFault | None:
    """Adds up the sizes of pieces; ``last`` is that of the piece a repetition would repeat."""
    open_groups: list[int] = []
    total = last = 0
    for piece in _PIECE.finditer(pattern):
        if piece[0] == "(":
            open_groups.append(total)
            last = 0
        elif piece[0] == ")":
            last = total - (open_groups.pop() if open_groups else 0)
        elif piece[1] is not None:
            times = max(int(piece[1]), int(piece[2] or 0))
            total += last * (times - 1) if times else 0
            last *= max(times, 1)
        else:
            last = 1
            total += 1
        if total > SIZE_MAX:
            return PatternFault(
                f"this regular expression is too large: its repetitions written out, it has more than {SIZE_MAX} "
                "characters",
                piece.start(),
            )
    return None
