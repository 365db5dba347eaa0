"""Turns whatever holds events (dicts, tables, files) into batches, with bounded memory, each event's place kept."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson
import pyarrow as pa

from evenshard.client.batches import Batch, batches_of_record
from evenshard.client.import_result import Rejected
from evenshard.client.insert_ids import FIELD, InsertIds, add_to_record, has_insert_id, hides_insert_id
from evenshard.errors import EvenshardError

LINES_PER_BATCH: Final = 20_000
LINE_BATCH_BYTES: Final = 4 << 20
ROWS_PER_BATCH: Final = 50_000
ROW_BATCH_BYTES: Final = 8 << 20

_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC


def batches_of_events(
    events: Iterable[Mapping[str, Any]], *, batch_rows: int = LINES_PER_BATCH, ids: InsertIds | None
) -> Iterator[Batch]:
    """Dicts of the shape ``export`` writes, as NDJSON. ``ids``: None leaves events without insert_id as they are.

    Datetimes are written as RFC 3339, those without a zone as UTC. A value that JSON does not know rejects its event.
    """
    lines: list[bytes] = []
    rejects: list[Rejected] = []
    size = first = 0
    for place, event in enumerate(events):
        try:
            line = _line(event, ids)
        except (TypeError, ValueError) as error:
            line = b""  # keeps the places of the lines behind it
            rejects.append(Rejected(place, "", "", "", "INVALID_JSON", str(error), False))
        lines.append(line)
        size += len(line) + 1
        if len(lines) >= batch_rows or size >= LINE_BATCH_BYTES:
            yield Batch("ndjson", b"\n".join(lines), len(lines), first, rejects=rejects)
            first, lines, rejects, size = first + len(lines), [], [], 0
    if lines:
        yield Batch("ndjson", b"\n".join(lines), len(lines), first, rejects=rejects)


def _line(event: Mapping[str, Any], ids: InsertIds | None) -> bytes:
    try:
        line = orjson.dumps(event, option=_OPTIONS)
    except TypeError:
        # Integers beyond 64 bits and lone surrogates: the cluster has codes for them.
        line = _standard_json(event)
    if b"null" in line:
        line = _standard_json(event) if _has_nan(event) else line
    if ids is None or not isinstance(event, dict) or not event or has_insert_id(event):
        return line
    if hides_insert_id(event):
        return _line({**event, "properties": {**event["properties"], FIELD: ids.one()}}, None)
    return line[:-1] + f',"{FIELD}":"{ids.one()}"}}'.encode()


def _standard_json(event: Any) -> bytes:
    import json

    return json.dumps(event, default=_plain).encode()


def _plain(value: Any) -> Any:
    """What orjson writes and the standard library does not."""
    return orjson.loads(orjson.dumps(value, option=_OPTIONS))


def _has_nan(value: Any) -> bool:
    """orjson writes NaN and infinities as null; they are to be refused, not lost."""
    match value:
        case float():
            return value != value or value in (float("inf"), float("-inf"))
        case dict():
            return any(_has_nan(each) for each in value.values())
        case list() | tuple():
            return any(_has_nan(each) for each in value)
    return False


def batches_of_table(source: Any, *, batch_rows: int = ROWS_PER_BATCH, ids: InsertIds | None) -> Iterator[Batch]:
    """A table, record batch or reader of Arrow, or anything that offers itself as one (a pandas or polars frame)."""
    return batches_of_records(_records(source), batch_rows=batch_rows, ids=ids)


def _records(source: Any) -> Iterable[pa.RecordBatch]:
    match source:
        case pa.RecordBatch():
            return [source]
        case pa.Table():
            batches: Iterable[pa.RecordBatch] = source.to_batches()
            return batches
        case pa.RecordBatchReader():
            reader: Iterable[pa.RecordBatch] = source
            return reader
    if _library(source) == "pandas":
        return _records_of_pandas(source)
    if hasattr(source, "__arrow_c_stream__"):
        stream: Iterable[pa.RecordBatch] = pa.RecordBatchReader.from_stream(source)
        return stream
    if _library(source) == "polars":
        raise EvenshardError("PAYLOAD_INVALID", "a lazy frame holds no rows yet", hint="collect() it first")
    raise EvenshardError(
        "PAYLOAD_INVALID",
        f"{type(source).__name__} is no Arrow table, record batch or reader",
        hint="give a pyarrow.Table, or use import_events for dicts",
    )


def _library(source: Any) -> str:
    return type(source).__module__.partition(".")[0]


def is_table(source: Any) -> bool:
    """Whether ``batches_of_table`` takes it: iterating a frame gives the names of its columns, not its rows."""
    return (
        isinstance(source, pa.RecordBatch | pa.Table | pa.RecordBatchReader)
        or hasattr(source, "__arrow_c_stream__")
        or (_library(source) == "polars" and hasattr(source, "collect"))
    )


def _records_of_pandas(frame: Any) -> list[pa.RecordBatch]:
    """Without the index; NaN and NaT are null. Raises ``COLUMN_TYPE`` for a column of several types."""
    try:
        result: list[pa.RecordBatch] = pa.Table.from_pandas(frame, preserve_index=False).to_batches()
        return result
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        hint = "give each column one type, or import the rows as dicts: import_events(frame.to_dict('records'))"
        raise EvenshardError("COLUMN_TYPE", " ".join(map(str, error.args)), hint=hint) from error


def batches_of_records(
    records: Iterable[pa.RecordBatch], *, batch_rows: int, ids: InsertIds | None, first: int = 0
) -> Iterator[Batch]:
    """Record batches cut to at most ``batch_rows`` rows and ``ROW_BATCH_BYTES``, small ones put together."""
    place = first
    for record in _regrouped(records, batch_rows):
        for slice_ in _slices(record, batch_rows):
            whole = _without_surplus_dictionaries(slice_)
            if ids is not None:
                whole = add_to_record(whole, ids)
            yield from batches_of_record(whole, place)
            place += slice_.num_rows


def _regrouped(records: Iterable[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Neighbours joined while they are together at most ``batch_rows``."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for record in records:
        if held and rows + record.num_rows > batch_rows:
            yield _joined(held)
            held, rows = [], 0
        if record.num_rows:
            held.append(record)
            rows += record.num_rows
    if held:
        yield _joined(held)


def _joined(records: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(records) == 1:
        return records[0]
    table = pa.Table.from_batches(records).unify_dictionaries().combine_chunks()
    return table.to_batches()[0]


def _slices(record: pa.RecordBatch, batch_rows: int) -> Iterator[pa.RecordBatch]:
    row_bytes = max(1, record.nbytes // record.num_rows)
    rows = max(1, min(batch_rows, ROW_BATCH_BYTES // row_bytes))
    for start in range(0, record.num_rows, rows):
        yield record.slice(start, rows)


def _without_surplus_dictionaries(record: pa.RecordBatch) -> pa.RecordBatch:
    """A dictionary larger than the slice it belongs to would be sent with every slice: its values are sent instead."""
    for at, column in enumerate(record.columns):
        if pa.types.is_dictionary(column.type) and len(column.dictionary) > record.num_rows:
            record = record.set_column(at, record.schema.names[at], column.dictionary_decode())
    return record
