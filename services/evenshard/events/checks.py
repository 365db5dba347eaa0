"""The rules of SEMANTICS §1 over whole columns: which events are good, and the answer of an import's decoding.

A codec makes a ``Draft`` (columns as they came, faults it met itself), ``finish`` applies the rules all codecs share.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events import faults, limits
from evenshard.events.batch import FIELD_NAMES, FIELDS, PROPERTY_TYPES, REST, EventBatch
from evenshard.events.faults import FAULTS, FINE, Detail
from evenshard.events.hashing import string_buffers
from evenshard.events.rejects import Decoded, DecodeWarning, Reject, TenantRows
from evenshard.events.remediated import restored
from evenshard.kernels import kernel, view

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]

PLACEHOLDER_NAMES_MAX = 5
"""Placeholder ids named in a warning."""


@dataclass(slots=True)
class Draft:
    """Events as a codec read them; arrays have one entry an event."""

    rows: int
    event: pa.DictionaryArray
    """dictionary<int32, utf8>, indices may be null."""
    distinct_id: pa.StringArray
    """No nulls."""
    time: Int64
    """ms; any value where a fault says so."""
    insert_id: pa.StringArray
    properties: dict[str, pa.Array]
    """Property columns by name, ``rest`` perhaps among them."""
    faults: UInt8
    """Numbers of ``faults``, ``FINE`` where none is known."""
    details: dict[int, Detail] = field(default_factory=dict)
    """By row."""
    warnings: list[DecodeWarning] = field(default_factory=list)
    tenants: Sequence[str] = ("",)
    tenant_codes: npt.NDArray[np.int32] | None = None
    """Index into ``tenants``; None: all are of the first; -1: none."""
    places: Int64 | None = None
    """Place of each row in the payload; None: row i is at place i."""
    remediated: npt.NDArray[np.bool_] | None = None
    """Rows that came as remediated events, and are their originals by now; None: none did."""


# What the kernel says of the first rule a row breaks; here, as a compiled kernel is cached by its own file's change.
_OK, _EVENT_MISSING, _EVENT, _ID_LONG, _ID_PLACEHOLDER, _OLD, _FUTURE, _INSERT_INVALID, _INSERT_MISSING = range(9)
_STATE_FAULTS = np.array(
    [
        FINE,
        faults.EVENT_MISSING,
        FINE,  # by name
        faults.DISTINCT_ID_TOO_LONG,
        faults.DISTINCT_ID_PLACEHOLDER,
        faults.TIME_TOO_OLD,
        faults.TIME_IN_FUTURE,
        faults.INSERT_ID_INVALID,
        faults.INSERT_ID_MISSING,
    ],
    np.uint8,
)


# No helper takes an array here: numba counts references around such calls, which costs more than the rules themselves.
@kernel(f"void({view('int32')}, {view('uint8')}, {view('int64')}, {view('int32')}, {view('uint8')}, boolean[::1])")
def _find_placeholders(offsets, data, first_of_size, text_offsets, texts, out):  # type: ignore[no-untyped-def]
    one = np.uint64(1)
    for i in range(np.uint64(out.size)):
        at, size = np.uint64(offsets[i]), np.uint64(offsets[i + one] - offsets[i])
        out[i] = False
        if size + one < first_of_size.size:
            for entry in range(np.uint64(first_of_size[size]), np.uint64(first_of_size[size + one])):
                same = True
                for byte in range(size):
                    letter = data[at + byte]
                    if 65 <= letter <= 90:
                        letter += 32
                    same &= letter == texts[np.uint64(text_offsets[entry]) + byte]
                out[i] |= same


@kernel(f"boolean({view('uint8')}, int64, int64)")
def _all_printable(data, first, end):  # type: ignore[no-untyped-def]
    low, high = np.uint8(255), np.uint8(0)
    for at in range(np.uint64(first), np.uint64(end)):
        low, high = min(low, data[at]), max(high, data[at])
    return first >= end or (low >= 0x20 and high <= 0x7E)


@kernel(f"void({view('int32')}, {view('uint8')}, boolean[::1])")
def _find_unprintable(offsets, data, out):  # type: ignore[no-untyped-def]
    for i in range(np.uint64(out.size)):
        out[i] = False
        for at in range(np.uint64(offsets[i]), np.uint64(offsets[i + np.uint64(1)])):
            out[i] |= data[at] < 0x20 or data[at] > 0x7E


@kernel(f"void({view('int32')}, {view('uint8')}, {view('uint8')}, boolean[::1])")
def _find_prefixed(offsets, data, prefix, out):  # type: ignore[no-untyped-def]
    for i in range(np.uint64(out.size)):
        at, size = np.uint64(offsets[i]), np.uint64(offsets[i + np.uint64(1)] - offsets[i])
        out[i] = size >= prefix.size
        if out[i]:
            for byte in range(np.uint64(prefix.size)):
                out[i] &= data[at + byte] == prefix[byte]


@kernel(
    f"void({view('int32')}, {view('boolean')}, {view('int32')}, {view('int64')}, {view('int32')}, {view('boolean')},"
    f"{view('boolean')}, {view('boolean')}, {view('boolean')}, {view('boolean')}, {view('int64')}, uint8[::1])"
)
def _check_fields(  # type: ignore[no-untyped-def]
    event_codes,  # -1: null
    event_fine,
    id_offsets,
    times,
    insert_offsets,
    has_insert,
    is_placeholder,
    insert_invalid,
    insert_generated,
    strict,
    bounds,
    states,
):
    id_max, insert_max, time_min, time_max = bounds[0], bounds[1], bounds[2], bounds[3]
    one = np.uint64(1)
    for i in range(np.uint64(states.size)):
        state = _OK
        if event_codes[i] < 0:
            state = _EVENT_MISSING
        elif not event_fine[np.uint64(event_codes[i])]:
            state = _EVENT
        elif id_offsets[i + one] - id_offsets[i] > id_max:
            state = _ID_LONG
        elif strict[i] and is_placeholder[i]:
            state = _ID_PLACEHOLDER
        elif times[i] < time_min:
            state = _OLD
        elif times[i] > time_max:
            state = _FUTURE
        elif has_insert[i] and (insert_offsets[i + one] - insert_offsets[i] > insert_max or insert_invalid[i]):
            state = _INSERT_INVALID
        elif strict[i] and (not has_insert[i] or insert_generated[i]):
            state = _INSERT_MISSING
        states[i] = state


_PLACEHOLDERS = string_buffers(pa.array(sorted(limits.PLACEHOLDER_IDS, key=len)))
_SIZES = np.diff(_PLACEHOLDERS.offsets)
_FIRST_OF_SIZE = np.searchsorted(_SIZES, np.arange(_SIZES[-1] + 2)).astype(np.int64)
"""Placeholders of n bytes are those from entry n's to entry n + 1's."""
_GENERATED = np.frombuffer(limits.GENERATED_INSERT_ID_PREFIX.encode(), np.uint8)


def _name_faults(names: pa.StringArray) -> UInt8:
    """The fault of each distinct event name."""
    out = np.full(len(names), FINE, np.uint8)
    sizes = np.diff(string_buffers(names).offsets)
    out[sizes == 0] = faults.EVENT_MISSING
    out[sizes > limits.EVENT_BYTES_MAX] = faults.EVENT_TOO_LONG
    reserved = pc.is_in(names, value_set=pa.array(limits.RESERVED_EVENTS)).to_numpy(zero_copy_only=False)
    out[reserved] = faults.EVENT_NAME_RESERVED
    return out


def _check(draft: Draft, strict: npt.NDArray[np.bool_], now_ms: int) -> npt.NDArray[np.bool_]:
    """Lowers ``draft.faults`` to the faults found here; returns which distinct_ids are placeholders."""
    name_faults = _name_faults(draft.event.dictionary)
    codes = draft.event.indices
    codes = (codes.fill_null(-1) if codes.null_count else codes).to_numpy()
    ids, inserts = string_buffers(draft.distinct_id), string_buffers(draft.insert_id)
    bounds = np.array(
        [
            limits.DISTINCT_ID_BYTES_MAX,
            limits.INSERT_ID_BYTES_MAX,
            limits.TIME_MIN_MS,
            now_ms + limits.TIME_AHEAD_MAX_MS,
        ],
        np.int64,
    )
    states = np.empty(draft.rows, np.uint8)
    placeholders = np.empty(draft.rows, np.bool_)
    _find_placeholders(ids.offsets, ids.data, _FIRST_OF_SIZE, _PLACEHOLDERS.offsets, _PLACEHOLDERS.data, placeholders)
    none = np.zeros(draft.rows, np.bool_)
    unprintable = generated = none
    if not _all_printable(inserts.data, inserts.offsets[0], inserts.offsets[-1]):
        unprintable = np.empty(draft.rows, np.bool_)
        _find_unprintable(inserts.offsets, inserts.data, unprintable)
    if strict.any():
        generated = np.empty(draft.rows, np.bool_)
        _find_prefixed(inserts.offsets, inserts.data, _GENERATED, generated)
    _check_fields(
        codes,
        name_faults == FINE,
        ids.offsets,
        draft.time,
        inserts.offsets,
        inserts.valid,
        placeholders,
        unprintable,
        generated,
        strict,
        bounds,
        states,
    )
    found = _STATE_FAULTS[states]
    by_name = np.flatnonzero(states == _EVENT)
    found[by_name] = name_faults[codes[by_name]]
    np.minimum(draft.faults, found, out=draft.faults)
    return placeholders


def _placeholder_warning(draft: Draft, which: npt.NDArray[np.bool_]) -> list[DecodeWarning]:
    rows = np.flatnonzero(which & (draft.faults == FINE))
    if not rows.size:
        return []
    names = pc.unique(draft.distinct_id.take(pa.array(rows))).to_pylist()
    named = ", ".join(repr(name) for name in sorted(names)[:PLACEHOLDER_NAMES_MAX])
    return [DecodeWarning("DISTINCT_ID_PLACEHOLDER", f"distinct_ids that look like placeholders: {named}", rows.size)]


def _reject(draft: Draft, row: int) -> Reject:
    number = int(draft.faults[row])
    fault = FAULTS[number]
    detail = draft.details.get(row)
    if detail is not None and detail.number == number:
        fault = fault._replace(field=detail.field or fault.field, message=detail.message or fault.message)
    code = 0 if draft.tenant_codes is None else int(draft.tenant_codes[row])
    insert_id = draft.insert_id[row].as_py()
    return Reject(
        index=row if draft.places is None else int(draft.places[row]),
        tenant=draft.tenants[code] if code >= 0 else "",
        insert_id=insert_id or "",
        field=fault.field,
        code=fault.code,
        message=fault.message,
    )


def _tidy_names(events: pa.DictionaryArray) -> pa.DictionaryArray:
    """Without names that no row has: those of rejected events, or of other tenants."""
    occurs = np.zeros(len(events.dictionary), np.bool_)
    occurs[events.indices.to_numpy()] = True
    used = np.flatnonzero(occurs)
    if used.size == len(events.dictionary):
        return events
    new_codes = np.zeros(len(events.dictionary), np.int32)
    new_codes[used] = np.arange(used.size, dtype=np.int32)
    return pa.DictionaryArray.from_arrays(
        pa.array(new_codes[events.indices.to_numpy()]), events.dictionary.take(pa.array(used))
    )


def canonical(fields: Mapping[str, pa.Array], properties: Mapping[str, pa.Array]) -> EventBatch:
    """A batch from whole columns of the canonical types; property columns without a value are left out."""
    rows = len(fields["time"])
    names = sorted(name for name, array in properties.items() if name != REST and array.null_count < rows)
    schema_fields = [*FIELDS, *(pa.field(name, PROPERTY_TYPES[name[0]]) for name in names)]  # type: ignore[index]
    arrays = [fields[name] for name in FIELD_NAMES] + [properties[name] for name in names]
    rest = properties.get(REST)
    if rest is not None and rest.null_count < rows:
        schema_fields.append(pa.field(REST, pa.utf8()))
        arrays.append(rest)
    arrays[0] = _tidy_names(arrays[0])
    return EventBatch(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(schema_fields)))


def _split(draft: Draft, good: Int64 | None) -> list[TenantRows]:
    """The good rows by tenant. ``good``: ascending row numbers; None: all."""
    fields = {
        "event": draft.event,
        "distinct_id": draft.distinct_id,
        "time": pa.array(draft.time),
        "insert_id": draft.insert_id,
    }
    count = draft.rows if good is None else good.size
    if not count:
        return []
    order, bounds, tenants = good, [0, count], [0]
    codes = draft.tenant_codes if good is None or draft.tenant_codes is None else draft.tenant_codes[good]
    if codes is not None:
        by_tenant = np.argsort(codes, kind="stable")
        sorted_codes = codes[by_tenant]
        cuts = np.flatnonzero(np.diff(sorted_codes)) + 1
        bounds = [0, *cuts.tolist(), count]
        tenants = sorted_codes[np.array(bounds[:-1])].tolist()
        if len(tenants) > 1:
            order = by_tenant if good is None else good[by_tenant]
    properties = draft.properties
    if order is not None:
        places = pa.array(order)
        fields = {name: array.take(places) for name, array in fields.items()}
        properties = {name: array.take(places) for name, array in properties.items()}
    out = []
    for tenant, first, end in zip(tenants, bounds[:-1], bounds[1:], strict=True):
        if end - first == count:
            batch = canonical(fields, properties)
        else:
            size = end - first
            batch = canonical(
                {name: array.slice(first, size) for name, array in fields.items()},
                {name: array.slice(first, size) for name, array in properties.items()},
            )
        at = None if order is None else order[first:end]
        if draft.places is not None:
            at = draft.places[first:end] if at is None else draft.places[at]
        remediated = draft.remediated
        if remediated is not None:
            remediated = (remediated if order is None else remediated[order])[first:end]
        out.append(TenantRows(draft.tenants[tenant], batch, at, remediated))
    return sorted(out, key=lambda each: each.tenant)


def _restore(draft: Draft) -> None:
    """Remediated events become their originals, to which all rules apply."""
    found = restored(draft.event, draft.distinct_id, draft.properties)
    if found is not None:
        draft.event, draft.distinct_id, draft.properties = found.event, found.distinct_id, found.properties
        draft.remediated = found.rows


def finish(draft: Draft, *, strict: bool | Callable[[str], bool], now_ms: int) -> Decoded:
    """Applies the rules of the fields and parts good events from bad ones.

    ``strict`` may depend on the tenant. Raises nothing: whatever is wrong with an event becomes its reject.
    """
    draft.insert_id = _without_empty(draft.insert_id)
    _restore(draft)
    if callable(strict):
        by_tenant = np.array([bool(name) and strict(name) for name in draft.tenants] + [False])
        codes = draft.tenant_codes
        strict_rows = np.full(draft.rows, by_tenant[0]) if codes is None else by_tenant[codes]
    else:
        strict_rows = np.full(draft.rows, strict)
    placeholders = _check(draft, strict_rows, now_ms)
    bad = np.flatnonzero(draft.faults != FINE)
    good = np.flatnonzero(draft.faults == FINE) if bad.size else None
    return Decoded(
        batches=_split(draft, good),
        rejects=[_reject(draft, row) for row in bad.tolist()],
        rows=draft.rows,
        warnings=[*draft.warnings, *_placeholder_warning(draft, placeholders)],
    )


def _without_empty(insert_ids: pa.StringArray) -> pa.StringArray:
    """Empty texts become null: SDKs that send ``""`` have no insert_id."""
    lengths = np.diff(string_buffers(insert_ids).offsets)
    empty = lengths == 0
    if not empty.any():
        return insert_ids
    return pc.if_else(pa.array(empty), pa.scalar(None, pa.utf8()), insert_ids)
