"""Names that a query asks for and nobody sent: said in a warning, with the names that are nearly the same."""

import asyncio
from collections.abc import Sequence
from datetime import date
from difflib import get_close_matches
from typing import Final

from evenshard.errors import EvenshardError
from evenshard.gateway.scatter import Deadline, Scatter
from evenshard.gateway.segmentation import answer_segmentation
from evenshard.queries.model import LIMIT_MAX, segmentation_query

Warnings = tuple[tuple[str, str], ...]
"""Code and message each."""
NEAR_MAX: Final = 3
"""Names a warning proposes."""
NEAR_ENOUGH: Final = 0.6
SHARE_OF_DEADLINE: Final = 0.5
"""Of what is left: the answer itself is there already."""


async def unknown_event_warnings(
    scatter: Scatter, tenant: str, names: Sequence[str], from_date: date, to_date: date, deadline: Deadline
) -> Warnings:
    """``UNKNOWN_EVENT`` for each of ``names``, of which no event was met where it could count.

    What names there are is asked of the shards, from the first day to the last. Where they cannot tell in time the
    warnings propose none: the answer that they belong to is complete without.
    """
    if not names:
        return ()
    query = segmentation_query(from_date=str(from_date), to_date=str(to_date), by=["$event"], limit=LIMIT_MAX)
    try:
        hurried = Deadline.in_s(deadline.clock, deadline.remaining_s() * SHARE_OF_DEADLINE)
        answered = await answer_segmentation(scatter, tenant, query, hurried, allow_partial=True)
    except EvenshardError:
        known: list[str] = []
    else:
        known = [str(series.by[0]) for series in answered.answer.series]
    near = await asyncio.to_thread(near_matches, names, known)
    return tuple(("UNKNOWN_EVENT", _message(name, near[name])) for name in names)


def near_matches(names: Sequence[str], known: Sequence[str]) -> dict[str, list[str]]:
    """For each name those known that are nearly the same, the nearest first, whatever their case."""
    folded: dict[str, list[str]] = {}
    for name in known:
        folded.setdefault(name.casefold(), []).append(name)
    return {
        name: [
            each
            for match in get_close_matches(name.casefold(), folded, NEAR_MAX, NEAR_ENOUGH)
            for each in folded[match]
        ][:NEAR_MAX]
        for name in names
    }


def _message(name: str, near: Sequence[str]) -> str:
    message = f"no event that could count is named {name!r}"
    return f"{message}; there is {', '.join(map(repr, near))}" if near else message
