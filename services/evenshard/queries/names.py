"""Which of the names a question asks for occur at all, so that a misspelt one can be told from one that did nothing.

A scan looks at columns, and only until a name has been seen in a row that is meant: so what was seen does not depend on
where rows are. What was seen travels in the metadata of the partial's schema.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import REST, property_of
from evenshard.events.held import Held
from evenshard.events.properties import property_values
from evenshard.events.scan import Bools, Part, Parts, PassedOver, ScannedRows
from evenshard.queries.expression import COHORT_PREFIX
from evenshard.queries.groups import Integers
from evenshard.queries.values import FIELD_OF_NAME, encoded

NAMES_SEEN: Final = b"names_seen"
NEAR_MAX: Final = 3
"""Names a warning proposes."""
_NEAR: Final = 0.6
"""As alike, of 1, as a name must be to be proposed."""
_LOOKED_AT_FIRST: Final = 4096


@dataclass(frozen=True, slots=True)
class Names:
    """Of events and of properties."""

    events: frozenset[str] = frozenset()
    properties: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.events or self.properties)

    def __sub__(self, other: "Names") -> "Names":
        return Names(self.events - other.events, self.properties - other.properties)


def asked(events: Iterable[str], properties: Iterable[str] | None) -> Names:
    """The names a scan asks for; fields and cohorts are no properties."""
    named = (name for name in properties or () if name not in FIELD_OF_NAME and not name.startswith(COHORT_PREFIX))
    return Names(frozenset(events), frozenset(named))


@dataclass(slots=True)
class Watch:
    """Notes which names occur, until all have."""

    names: Names
    events: set[str] = field(default_factory=set)
    properties: set[str] = field(default_factory=set)

    def over(self, rows: Parts | Iterable[ScannedRows]) -> Parts | Iterable[ScannedRows]:
        """The rows, looked at as they are read."""
        if isinstance(rows, Parts):
            return replace(rows, parts=[replace(part, read=partial(self._read, part)) for part in rows.parts])
        return map(self._looked_at, rows)

    def look_among(self, passed_over: Sequence[PassedOver], check: Callable[[], None]) -> tuple[int, int]:
        """Looks for names that were not seen among rows that need not have been read, only where they may be; most
        often one read is enough. Returns the rows and bytes that were read. ``check`` raises if nobody waits."""
        rows, size = 0, 0
        for some in passed_over:
            missing = self.names - Names(frozenset(self.events), frozenset(self.properties))
            if not missing:
                break
            check()
            if not _may_have(some.held, missing):
                continue
            for part in some.parts():
                read = self._looked_at(part.read())
                rows += read.record.num_rows if read.keep is None else int(np.count_nonzero(read.keep))
                size += read.bytes_read
        return rows, size

    def _read(self, part: Part) -> ScannedRows:
        return self._looked_at(part.read())

    def _looked_at(self, some: ScannedRows) -> ScannedRows:
        if some.record.num_rows:
            self._look_for_events(some)
            self._look_for_properties(some)
        return some

    def _look_for_events(self, some: ScannedRows) -> None:
        missing = self.names.events - self.events
        if not missing or "event" not in some.record.schema.names:
            return
        codes, names = encoded(some.record.column("event"))
        there = pc.is_in(names, value_set=pa.array(sorted(missing), names.type)).to_numpy(zero_copy_only=False)
        for code in np.flatnonzero(there).tolist():
            if _holds(codes, code, some.keep):
                self.events.add(names[code].as_py())

    def _look_for_properties(self, some: ScannedRows) -> None:
        unseen = self.names.properties - self.properties
        if not unseen:
            return
        record = some.record
        for column in record.schema.names:
            held = property_of(column)
            if held is not None and held[0] in unseen:
                valid = record.column(column).is_valid().to_numpy(zero_copy_only=False)
                if _any_of(valid, some.keep):
                    self.properties.add(held[0])
        if REST in record.schema.names:
            meant = record if some.keep is None else record.filter(pa.array(some.keep))
            self.properties.update(name for name in unseen - self.properties if property_values(meant, name).arrays)

    def noted(self, table: pa.Table) -> pa.Table:
        """The partial that tells what was seen."""
        seen = orjson.dumps([sorted(self.events), sorted(self.properties)])
        return table.replace_schema_metadata({**(table.schema.metadata or {}), NAMES_SEEN: seen})


def _may_have(held: Held, names: Names) -> bool:
    """Whether rows may have one of the names; of hot ones it is not told how they are shown."""
    return (
        held.has_hot_rows
        or any(held.may_hold_field("event", name) for name in names.events)
        or any(held.may_have_property(name) for name in names.properties)
    )


def _holds(codes: Integers, code: int, keep: Bools | None) -> bool:
    """Whether a row that is meant has the code. Most have been found among the first rows."""
    first, rows = 0, _LOOKED_AT_FIRST
    while first < len(codes):
        some = slice(first, first + rows)
        if _any_of(codes[some] == code, None if keep is None else keep[some]):
            return True
        first, rows = first + rows, 8 * rows
    return False


def _any_of(rows: Bools, keep: Bools | None) -> bool:
    return bool((rows if keep is None else rows & keep).any())


def seen_in(partials: Sequence[pa.Table]) -> Names:
    """What the scans saw together."""
    events: set[str] = set()
    properties: set[str] = set()
    for table in partials:
        found = orjson.loads((table.schema.metadata or {}).get(NAMES_SEEN, b"[[],[]]"))
        events.update(found[0])
        properties.update(found[1])
    return Names(frozenset(events), frozenset(properties))


def proposal(name: str, there: Collection[str]) -> str:
    """What may have been meant, as the end of a sentence; empty: nothing is near."""
    lower = {each.lower(): each for each in sorted(there, reverse=True)}
    near = [lower[each] for each in get_close_matches(name.lower(), lower, NEAR_MAX, _NEAR)]
    return f"; is {' or '.join(map(repr, near))} meant?" if near else ""
