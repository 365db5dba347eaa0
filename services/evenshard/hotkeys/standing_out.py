"""Which values of properties stand out among a key's events: what its rows have, and the others have not. Pure.

A value stands out if at least half of the key's events have it, and at least twice as large a share as of *the rest*:
all events of the same days that are of no key of the report. Those with the widest gap between the two shares tell
most. *Not set* is a value too: an SDK that forgets to send a property stands out by that. Where there is no rest there
is nothing to stand out from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SHARE_MIN: Final = 0.5
"""Of the key's events."""
TIMES_REST_MIN: Final = 2.0
"""The share among the rest, at most so many times less."""
TOLD_MAX: Final = 5
"""Of one key."""

Counts = Mapping[str, int]
"""Events by value, as JSON text (``null``: not set)."""


@dataclass(frozen=True, slots=True)
class StandOut:
    """A value that stands out."""

    property: str
    value_json: str
    share: float
    """Of the key's events."""
    share_elsewhere: float
    """Of the rest."""


def stand_outs(
    key: Mapping[str, Counts], key_events: int, rest: Mapping[str, Counts], rest_events: int
) -> list[StandOut]:
    """The most telling first; ties by name. ``key`` and ``rest``: counts of each property; values that are not counted
    one by one, as there are too many, are left out of either, and cannot stand out."""
    if not key_events or not rest_events:
        return []
    found = []
    for name, counts in key.items():
        for value, count in counts.items():
            share, elsewhere = count / key_events, rest.get(name, {}).get(value, 0) / rest_events
            if share >= SHARE_MIN and share >= TIMES_REST_MIN * elsewhere:
                found.append(StandOut(name, value, share, elsewhere))
    found.sort(key=lambda each: (each.share_elsewhere - each.share, each.property, each.value_json))
    return found[:TOLD_MAX]
