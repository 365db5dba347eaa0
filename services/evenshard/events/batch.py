"""The event batch: events of one tenant as an Arrow record batch in one canonical form.

The fields come first, always in this order and of these types:

| column | type | |
|---|---|---|
| ``event`` | dictionary<int32, utf8> | never null |
| ``distinct_id`` | utf8 | never null, ``""`` is anonymous |
| ``time`` | int64 | ms since the epoch, UTC |
| ``insert_id`` | utf8 | null: none |

Then the properties, one column for each *(property, type)* that occurs, sorted by column name. The name of a column is
the type's letter, a colon and the property's name: ``b:`` bool, ``i:`` int64, ``d:`` float64, ``s:`` utf8, ``j:`` utf8
holding the JSON text of an array or object. So ``3`` and ``"3"`` of one property stand in two columns, both come back
as sent, and merging batches is a union of columns. A row has a value in at most one of a property's columns;
null means not set.
Last, where a batch has more than ``PROPERTY_COLUMNS_MAX`` property columns, ``rest``: utf8 holding a JSON object of the
properties without a column of their own; null where a row has none.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

import pyarrow as pa

PROPERTY_COLUMNS_MAX = 1000
REST = "rest"

PropertyType = Literal["b", "i", "d", "s", "j"]
PROPERTY_TYPES: dict[PropertyType, pa.DataType] = {
    "b": pa.bool_(),
    "i": pa.int64(),
    "d": pa.float64(),
    "s": pa.utf8(),
    "j": pa.utf8(),
}
FIELDS = (
    pa.field("event", pa.dictionary(pa.int32(), pa.utf8()), nullable=False),
    pa.field("distinct_id", pa.utf8(), nullable=False),
    pa.field("time", pa.int64(), nullable=False),
    pa.field("insert_id", pa.utf8()),
)
FIELD_NAMES = tuple(field.name for field in FIELDS)


def property_column(name: str, kind: PropertyType) -> str:
    """The name of the column that holds a property's values of one type."""
    return f"{kind}:{name}"


def property_of(column: str) -> tuple[str, PropertyType] | None:
    """The property and type a column holds; None for fields and ``rest``."""
    if len(column) >= 2 and column[1] == ":" and column[0] in PROPERTY_TYPES:
        return column[2:], column[0]
    return None


def schema_of(property_columns: Iterable[str], *, rest: bool = False) -> pa.Schema:
    """The canonical schema with these property columns."""
    fields = list(FIELDS)
    for column in sorted(property_columns):
        kind = cast(PropertyType, column[0])
        fields.append(pa.field(column, PROPERTY_TYPES[kind]))
    if rest:
        fields.append(pa.field(REST, pa.utf8()))
    return pa.schema(fields)


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events in canonical form, whose fields obey SEMANTICS §1; only the codecs and ``from_ipc`` make one."""

    record: pa.RecordBatch

    @property
    def rows(self) -> int:
        return int(self.record.num_rows)

    def take(self, indices: pa.Array) -> "EventBatch":
        """The rows at ``indices``, in that order."""
        return EventBatch(self.record.take(indices))

    def to_ipc(self) -> bytes:
        """An Arrow IPC stream of one batch: what travels between router and shard and stands in the log."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.record.schema) as writer:
            writer.write_batch(self.record)
        result: bytes = sink.getvalue().to_pybytes()
        return result

    @staticmethod
    def from_ipc(data: bytes | memoryview | pa.Buffer) -> "EventBatch":
        """Reads what ``to_ipc`` wrote, without copying: columns point into ``data``. Raises ``pa.ArrowInvalid``."""
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            return EventBatch(reader.read_next_batch())


def plain_fields(record: pa.RecordBatch) -> EventBatch:
    """The fields of scanned rows, without properties, in canonical form."""
    columns = []
    for field in FIELDS:
        column = record.column(field.name)
        if pa.types.is_dictionary(field.type):
            columns.append(column if pa.types.is_dictionary(column.type) else column.dictionary_encode())
        else:
            columns.append(column.dictionary_decode() if pa.types.is_dictionary(column.type) else column)
    return EventBatch(pa.RecordBatch.from_arrays(columns, schema=pa.schema(FIELDS)))
