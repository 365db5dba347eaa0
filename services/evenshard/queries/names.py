"""Which of the names a question asks for occur at all, so that a misspelt one can be told from one that did nothing.

A scan looks at dictionaries and columns, not at rows: an event that stands in a file's dictionary, and a property with
a value among the rows read, has been seen. What was seen travels in the metadata of the partial's schema.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import REST, property_of
from evenshard.events.properties import property_values
from evenshard.events.scan import Part, Parts, ScannedRows
from evenshard.queries.expression import COHORT_PREFIX
from evenshard.queries.values import FIELD_OF_NAME

NAMES_SEEN: Final = b"names_seen"
NEAR_MAX: Final = 3
"""Names a warning proposes."""
_NEAR: Final = 0.6
"""As alike, of 1, as a name must be to be proposed."""


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

    def _read(self, part: Part) -> ScannedRows:
        return self._looked_at(part.read())

    def _looked_at(self, some: ScannedRows) -> ScannedRows:
        self.look(some.record)
        return some

    def look(self, record: pa.RecordBatch) -> None:
        if not record.num_rows:
            return
        missing = self.names.events - self.events
        if missing and "event" in record.schema.names:
            column = record.column("event")
            names = column.dictionary if pa.types.is_dictionary(column.type) else column
            there = pc.is_in(pa.array(sorted(missing), pa.utf8()), value_set=names)
            self.events.update(name for name, found in zip(sorted(missing), there.to_pylist(), strict=True) if found)
        unseen = self.names.properties - self.properties
        if unseen:
            self._look_for_properties(record, unseen)

    def _look_for_properties(self, record: pa.RecordBatch, unseen: Collection[str]) -> None:
        for column in record.schema.names:
            held = property_of(column)
            if held is not None and held[0] in unseen and record.column(column).null_count < record.num_rows:
                self.properties.add(held[0])
        if REST in record.schema.names:
            self.properties.update(
                name for name in unseen if name not in self.properties and property_values(record, name).arrays
            )

    def noted(self, table: pa.Table) -> pa.Table:
        """The partial that tells what was seen."""
        seen = orjson.dumps([sorted(self.events), sorted(self.properties)])
        return table.replace_schema_metadata({**(table.schema.metadata or {}), NAMES_SEEN: seen})


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
