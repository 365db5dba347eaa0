"""Decodes an Arrow IPC stream from outside: columns in, columns out, every event answered for."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.errors import EvenshardError, FieldFault
from evenshard.events import faults
from evenshard.events.arrow_properties import PropertyReader
from evenshard.events.arrow_stream import SafeRecord, read_stream
from evenshard.events.checks import Draft, finish
from evenshard.events.faults import FINE, Detail
from evenshard.events.rejects import Decoded, DecodeWarning
from evenshard.events.text import Texts, coded, is_text, texts

PROPERTIES_JSON = "properties_json"
_INSERT_ID_NAMES = ("insert_id", "$insert_id")

UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the fields stand; None: absent."""

    event: int
    distinct_id: int
    time: int
    insert_id: int | None
    properties_json: int | None
    properties: list[int]


def _wrong_type(name: str, kind: pa.DataType, wanted: str) -> EvenshardError:
    message = f"column {name!r} is {kind}, it must be {wanted}"
    return EvenshardError("COLUMN_TYPE", message, fields=(FieldFault(name, f"must be {wanted}"),))


def _find_columns(names: list[str]) -> _Columns:
    """Raises ``COLUMN_DUPLICATED``, ``COLUMN_MISSING``."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if all(name in names for name in _INSERT_ID_NAMES):
        twice.append("insert_id")
    if twice:
        raise EvenshardError(
            "COLUMN_DUPLICATED",
            f"there is more than one column {', '.join(map(repr, twice))}",
            fields=tuple(FieldFault(name, "given more than once") for name in twice),
        )
    missing = [name for name in ("event", "distinct_id", "time") if name not in names]
    if missing:
        raise EvenshardError(
            "COLUMN_MISSING",
            f"there is no column {', '.join(map(repr, missing))}",
            fields=tuple(FieldFault(name, "is missing") for name in missing),
        )
    at = {name: i for i, name in enumerate(names)}
    insert_id = next((at[name] for name in _INSERT_ID_NAMES if name in at), None)
    fields = {at["event"], at["distinct_id"], at["time"], insert_id, at.get(PROPERTIES_JSON)}
    return _Columns(
        at["event"],
        at["distinct_id"],
        at["time"],
        insert_id,
        at.get(PROPERTIES_JSON),
        [i for i in range(len(names)) if i not in fields],
    )


_MS_FACTORS = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}


def _times(array: pa.Array, out: UInt8) -> npt.NDArray[np.int64]:
    """ms; an int64 is ms, a timestamp is itself (without a zone: UTC), fractions of a ms are cut off."""
    kind = array.type
    if pa.types.is_null(kind):
        array = pa.nulls(len(array), pa.int64())
    elif not (pa.types.is_int64(kind) or pa.types.is_timestamp(kind)):
        raise _wrong_type("time", kind, "int64 (ms) or a timestamp")
    values = array.view(pa.int64())
    if values.null_count:
        out[values.is_null().to_numpy(zero_copy_only=False)] = faults.TIME_MISSING
        values = values.fill_null(0)
    ms: npt.NDArray[np.int64] = values.to_numpy()
    if pa.types.is_timestamp(kind):
        factor, divisor = _MS_FACTORS[kind.unit]
        if factor > 1:
            bound = np.iinfo(np.int64).max // factor
            ms = np.clip(ms, -bound, bound) * factor
        elif divisor > 1:
            ms = ms // divisor
    return ms


def _distinct_ids(array: pa.Array, *, clean: bool) -> Texts:
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if pa.types.is_integer(kind):
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        found = Texts(array.cast(pa.utf8()))
    elif is_text(array.type):
        found = texts(array, clean=clean)
    else:
        raise _wrong_type("distinct_id", array.type, "text or an integer")
    return Texts(found.array.fill_null("") if found.array.null_count else found.array, found.invalid)


class _Notes:
    """Collects faults and their details while columns are read."""

    def __init__(self, rows: int) -> None:
        self.faults: UInt8 = np.full(rows, FINE, np.uint8)
        self.details: dict[int, Detail] = {}

    def add(self, which: npt.NDArray[np.bool_] | None, number: int, field: str) -> None:
        """Notes the fault for the rows of a mask, unless a lower one is known there."""
        if which is None or not which.any():
            return
        for row in np.flatnonzero(which & (self.faults > number)).tolist():
            self.faults[row] = number
            self.details[row] = Detail(number, field, "")


def _draft(safe: SafeRecord) -> Draft:
    record, columns, notes = safe.record, _find_columns(safe.names), _Notes(safe.record.num_rows)

    def clean(at: int) -> bool:
        return at not in safe.unclean

    event = record.column(columns.event)
    if not is_text(event.type):
        raise _wrong_type("event", event.type, "text")
    events, invalid = coded(event, clean=clean(columns.event))
    notes.add(invalid, faults.INVALID_UTF8, "event")
    ids = _distinct_ids(record.column(columns.distinct_id), clean=clean(columns.distinct_id))
    notes.add(ids.invalid, faults.INVALID_UTF8, "distinct_id")
    time_faults = np.full(record.num_rows, FINE, np.uint8)
    times = _times(record.column(columns.time), time_faults)
    inserts = Texts(pa.nulls(record.num_rows, pa.utf8()))
    if columns.insert_id is not None:
        insert = record.column(columns.insert_id)
        if not is_text(insert.type):
            raise _wrong_type(safe.names[columns.insert_id], insert.type, "text")
        inserts = texts(insert, clean=clean(columns.insert_id))
        notes.add(inserts.invalid, faults.INVALID_UTF8, "insert_id")
    reader = PropertyReader(record.num_rows, notes.add)
    for at in columns.properties:
        reader.read(safe.names[at], record.column(at), clean=clean(at))
    warnings: list[DecodeWarning] = []
    if columns.properties_json is not None:
        column = record.column(columns.properties_json)
        if not is_text(column.type):
            raise _wrong_type(PROPERTIES_JSON, column.type, "text (a JSON object)")
        objects = texts(column, clean=clean(columns.properties_json))
        notes.add(objects.invalid, faults.INVALID_UTF8, PROPERTIES_JSON)
        warnings = reader.read_objects(objects.array)
    reader.check_sizes(events, ids.array, inserts.array)
    np.minimum(notes.faults, time_faults, out=notes.faults)
    return Draft(
        rows=record.num_rows,
        event=events,
        distinct_id=ids.array,
        time=times,
        insert_id=inserts.array,
        properties=reader.columns(),
        faults=notes.faults,
        details=notes.details,
        warnings=warnings,
    )


def decode_arrow(data: bytes, *, tenant: str, strict: bool, now_ms: int) -> Decoded:
    """Decodes one Arrow IPC stream of a tenant's events (CONTRACT: ``event``, ``distinct_id``, ``time``, optional
    ``insert_id`` and ``properties_json``; every other column is a property).

    Raises ``PAYLOAD_INVALID``, ``COLUMN_MISSING``, ``COLUMN_DUPLICATED``, ``COLUMN_TYPE``, ``REQUEST_TOO_LARGE``.
    """
    draft = _draft(read_stream(data))
    draft.tenants = (tenant,)
    return finish(draft, strict=strict, now_ms=now_ms)
