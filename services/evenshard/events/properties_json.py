"""Arrow's ``properties_json`` column as property columns: each text is one event's properties object."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events import json_tokens
from evenshard.events.faults import Detail
from evenshard.events.json_columns import property_columns
from evenshard.events.json_lines import rewrite_object
from evenshard.events.json_tokens import JsonTokens


@dataclass(frozen=True, slots=True)
class PropertyObjects:
    """What a column of objects holds."""

    columns: dict[str, pa.Array]
    """As long as the column; ``rest`` perhaps among them."""
    faults: dict[int, Detail]
    """By row."""
    ignored: int
    """Objects with a key that names a field: the columns of that name count, the key is not stored."""


def _on_one_line(text: str) -> str:
    """A JSON text without line feeds: outside of strings they are spaces, inside they are no JSON."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return "not JSON"
    return text.replace("\n", " ")


def _lines(texts: pa.StringArray) -> npt.NDArray[np.uint8]:
    spread = pc.match_substring(texts, "\n").to_numpy(zero_copy_only=False)
    if spread.any():
        flat = pa.array([_on_one_line(text) for text in texts.filter(pa.array(spread)).to_pylist()], pa.utf8())
        texts = pc.replace_with_mask(texts, pa.array(spread), flat)
    joined = pc.binary_join_element_wise(texts, "", "\n")
    begin, end = joined.offset, joined.offset + len(joined)
    offsets = np.frombuffer(joined.buffers()[1], np.int32)
    data: npt.NDArray[np.uint8] = np.frombuffer(joined.buffers()[2], np.uint8)[offsets[begin] : offsets[end]]
    return data


def read_objects(texts: pa.StringArray) -> PropertyObjects:
    """The properties of each row; null and blank texts have none. Raises ``REQUEST_TOO_LARGE``."""
    present = pc.not_equal(pc.ascii_trim_whitespace(texts), "").fill_null(False)
    rows = np.flatnonzero(present.to_numpy(zero_copy_only=False))
    if not rows.size:
        return PropertyObjects({}, {}, 0)
    found = JsonTokens(_lines(texts.take(pa.array(rows))), bare=True, rewrite=rewrite_object)
    columns = property_columns(found)
    if rows.size < len(texts):
        at = np.zeros(len(texts), np.int64)
        at[rows] = np.arange(rows.size)
        places = pc.if_else(present, pa.array(at), pa.scalar(None, pa.int64()))
        columns = {name: array.take(places) for name, array in columns.items()}
    fields = found.fields[[json_tokens.INNER_ID, json_tokens.INNER_TIME, json_tokens.INNER_INSERT]]
    return PropertyObjects(
        columns,
        {int(rows[row]): detail for row, detail in found.faults.items()},
        int(np.count_nonzero((fields >= 0).any(axis=0))),
    )
