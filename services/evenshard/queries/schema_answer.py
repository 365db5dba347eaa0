"""The gateway's half of a schema: partials put together, ranked, named for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from evenshard.events.limits import HOT_EVENT, ORIGINAL_EVENT, ORIGINAL_ID, RESERVED_EVENTS
from evenshard.queries.schema import EVENT, MANY, TYPE, VALUE
from evenshard.queries.values import JsonText, Value, rank_of_tag, value_of_tag

TOP_VALUES: Final = 10
"""Values listed of a property."""
DISPLAY_NAMES: Final = {
    HOT_EVENT: "Hotshard Events",
    "$hotshard_record": "Hotshard Record",
    ORIGINAL_EVENT: "Hotshard Original Event Name",
    ORIGINAL_ID: "Hotshard Original Distinct ID",
}
_TYPES: Final = {"b": "bool", "i": "number", "d": "number", "s": "string", "j": "json"}
_TYPE_ORDER: Final = ("bool", "number", "string", "json")


@dataclass(frozen=True, slots=True)
class NamedEvent:
    name: str
    display_name: str
    count: int
    hidden: bool


@dataclass(frozen=True, slots=True)
class NamedProperty:
    """``types``: of bool, number, string, json. ``top_values``: the most frequent first, ties by value ascending."""

    name: str
    display_name: str
    types: tuple[str, ...]
    top_values: tuple[Value | JsonText, ...]


@dataclass(frozen=True, slots=True)
class SchemaAnswer:
    """Events by count, properties by name."""

    events: tuple[NamedEvent, ...]
    properties: tuple[NamedProperty, ...]
    too_many: tuple[str, ...]
    """Properties whose values were too many to be counted: they have no ``top_values``."""


def merge(partials: Sequence[pa.Table]) -> pa.Table:
    """Several partials as one; associative."""
    table = pa.concat_tables(partials)
    return table.group_by(["kind", "name", "tag"]).aggregate([("count", "sum")]).rename_columns(table.schema.names)


def event_counts(merged: pa.Table) -> dict[str, int]:
    """How many events of each name there are."""
    rows = _of_kind(merged, EVENT)
    return dict(zip(rows.column("name").to_pylist(), rows.column("count").to_pylist(), strict=True))


def property_names(merged: pa.Table) -> set[str]:
    """Names of properties with any value."""
    return set(_of_kind(merged, TYPE).column("name").to_pylist())


def finish(merged: pa.Table, *, include_hidden: bool) -> SchemaAnswer:
    """The answer; reserved events, and the properties that only they have, with ``include_hidden``."""
    counts = event_counts(merged)
    events = [
        NamedEvent(name, DISPLAY_NAMES.get(name, name), count, name in RESERVED_EVENTS)
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))
    ]
    too_many = set(_of_kind(merged, MANY).column("name").to_pylist())
    types: dict[str, set[str]] = {}
    rows = _of_kind(merged, TYPE)
    for name, kind in zip(rows.column("name").to_pylist(), rows.column("tag").to_pylist(), strict=True):
        types.setdefault(name, set()).add(_TYPES[kind])
    top = _top_values(_of_kind(merged, VALUE))
    properties = [
        NamedProperty(
            name,
            DISPLAY_NAMES.get(name, name),
            tuple(kind for kind in _TYPE_ORDER if kind in types[name]),
            () if name in too_many else tuple(map(value_of_tag, top.get(name, []))),
        )
        for name in sorted(types, key=str.encode)
    ]
    return SchemaAnswer(
        tuple(event for event in events if include_hidden or not event.hidden),
        tuple(each for each in properties if include_hidden or each.name not in (ORIGINAL_EVENT, ORIGINAL_ID)),
        tuple(sorted(too_many)),
    )


def _of_kind(merged: pa.Table, kind: int) -> pa.Table:
    return merged.filter(pa.array(merged.column("kind").to_numpy() == kind))


def _top_values(rows: pa.Table) -> dict[str, list[str]]:
    """Tags of each property's most frequent values: those above the count of the last one first, then ties by value."""
    names = rows.column("name").combine_chunks().dictionary_encode()
    codes, counts = names.indices.to_numpy(), rows.column("count").to_numpy()
    order = np.lexsort((-counts, codes))
    starts = np.searchsorted(codes[order], np.arange(len(names.dictionary) + 1))
    tags = rows.column("tag")
    found: dict[str, list[str]] = {}
    for at, name in enumerate(names.dictionary.to_pylist()):
        mine = order[starts[at] : starts[at + 1]]
        least = counts[mine[min(TOP_VALUES, len(mine)) - 1]]
        mine = mine[counts[mine] >= least]
        ranked = zip(counts[mine].tolist(), tags.take(pa.array(mine)).to_pylist(), strict=True)
        best = sorted(ranked, key=lambda pair: (-pair[0], rank_of_tag(pair[1])))
        found[name] = [tag for _, tag in best[:TOP_VALUES]]
    return found
