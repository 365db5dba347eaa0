"""Reads already remediated events, as exports show them, back into the events they were. Pure.

An event named ``HOT_EVENT`` that has both of its originals as texts is taken for its original: name and distinct_id are
theirs, the two properties go. So it has the identity it had, and importing an export again stores nothing twice.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import PROPERTY_TYPES, REST, property_column
from evenshard.events.limits import HOT_EVENT, ORIGINAL_EVENT, ORIGINAL_ID
from evenshard.events.properties import property_values

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Restored:
    """Columns of a batch in which remediated events are their originals, and which rows those are."""

    event: pa.DictionaryArray
    distinct_id: pa.StringArray
    properties: dict[str, pa.Array]
    rows: Bools


def restored(
    event: pa.DictionaryArray, distinct_id: pa.StringArray, properties: dict[str, pa.Array]
) -> Restored | None:
    """None: no event is remediated, which costs a look at the distinct names. Originals that are no texts, and an empty
    original distinct_id, are nobody's."""
    named = pc.index_in(pa.array([HOT_EVENT]), value_set=event.dictionary)[0].as_py()
    if named is None:
        return None
    candidates = np.flatnonzero(event.indices.fill_null(-1).to_numpy() == named)
    taken = {name: array.take(pa.array(candidates)) for name, array in properties.items() if _may_hold(name)}
    record = pa.RecordBatch.from_pydict(taken)
    names = property_values(record, ORIGINAL_EVENT).arrays.get("s")
    ids = property_values(record, ORIGINAL_ID).arrays.get("s")
    if names is None or ids is None:
        return None
    names, ids = plain(names), plain(ids)
    whole = pc.and_kleene(pc.is_valid(names), pc.greater(pc.binary_length(ids).fill_null(0), 0))
    rows = np.zeros(len(event), np.bool_)
    rows[candidates[whole.to_numpy(zero_copy_only=False)]] = True
    if not rows.any():
        return None
    mask = pa.array(rows)
    events = pc.replace_with_mask(event.dictionary_decode(), mask, names.filter(whole))
    return Restored(
        events.dictionary_encode(),
        pc.replace_with_mask(distinct_id, mask, ids.filter(whole)),
        without_originals(properties, rows),
        rows,
    )


def without_originals(columns: dict[str, pa.Array], rows: Bools) -> dict[str, pa.Array]:
    """The columns where ``rows`` do not have the two properties: of whatever type, in ``rest`` too."""
    columns = dict(columns)
    for name in (ORIGINAL_EVENT, ORIGINAL_ID):
        for kind, arrow_type in PROPERTY_TYPES.items():
            column = property_column(name, kind)
            if column in columns:
                columns[column] = pc.if_else(pa.array(rows), pa.scalar(None, arrow_type), plain(columns[column]))
    if REST in columns:
        columns[REST] = _rest_without_originals(columns[REST], rows)
    return columns


def plain(values: pa.Array) -> pa.Array:
    """Texts without a dictionary."""
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _may_hold(column: str) -> bool:
    return column == REST or column[2:] in (ORIGINAL_EVENT, ORIGINAL_ID)


def _rest_without_originals(rest: pa.Array, rows: Bools) -> pa.Array:
    """Few rows are looked into."""
    texts = plain(rest)
    odd = pc.match_substring(texts, '"mp_original_').fill_null(False).to_numpy(zero_copy_only=False) & rows
    if not odd.any():
        return rest
    changed: list[str | None] = []
    for text in texts.filter(pa.array(odd)).to_pylist():
        kept = {name: value for name, value in orjson.loads(text).items() if name not in (ORIGINAL_EVENT, ORIGINAL_ID)}
        changed.append(orjson.dumps(kept).decode() if kept else None)
    return pc.replace_with_mask(texts, pa.array(odd), pa.array(changed, pa.utf8()))
