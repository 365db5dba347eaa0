"""Whether rows of two batches are the same event: equality of event, distinct_id, time and insert_id. Pure."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import EventBatch
from evenshard.events.hashing import string_buffers
from evenshard.kernels import kernel, view

Int64 = npt.NDArray[np.int64]


@kernel(inline=True)
def _same_string(offsets_a, data_a, a, offsets_b, data_b, b):  # type: ignore[no-untyped-def]
    start_a, start_b = offsets_a[a], offsets_b[b]
    length = offsets_a[a + 1] - start_a
    if offsets_b[b + 1] - start_b != length:
        return False
    for i in range(length):  # noqa: SIM110 (a kernel)
        if data_a[start_a + i] != data_b[start_b + i]:
            return False
    return True


@kernel(
    f"void({view('int64')}, {view('int64')}, {view('int32')}, {view('int32')}, {view('int64')}, {view('int64')},"
    f"{view('int32')}, {view('uint8')}, {view('int32')}, {view('uint8')},"
    f"{view('int32')}, {view('uint8')}, {view('int32')}, {view('uint8')}, boolean[::1])"
)
def _equal_rows(  # type: ignore[no-untyped-def]
    rows_a,
    rows_b,
    events_a,
    events_b,
    times_a,
    times_b,
    id_offsets_a,
    id_data_a,
    id_offsets_b,
    id_data_b,
    insert_offsets_a,
    insert_data_a,
    insert_offsets_b,
    insert_data_b,
    equal,
):
    for i in range(rows_a.size):
        a, b = rows_a[i], rows_b[i]
        equal[i] = (
            times_a[a] == times_b[b]
            and events_a[a] == events_b[b]
            and _same_string(id_offsets_a, id_data_a, a, id_offsets_b, id_data_b, b)
            and _same_string(insert_offsets_a, insert_data_a, a, insert_offsets_b, insert_data_b, b)
        )


def equal_rows(a: EventBatch, rows_a: Int64, b: EventBatch, rows_b: Int64) -> npt.NDArray[np.bool_]:
    """``equal[i]``: row ``rows_a[i]`` of ``a`` and ``rows_b[i]`` of ``b`` agree. All must have an insert_id."""
    equal = np.empty(rows_a.size, np.bool_)
    events_a, events_b = a.record.column("event"), b.record.column("event")
    if a is b or events_a.dictionary.equals(events_b.dictionary):
        codes_a = events_a.indices.to_numpy()
    else:
        codes_a = _translated(events_a, events_b.dictionary)
    ids_a, ids_b = string_buffers(a.record.column("distinct_id")), string_buffers(b.record.column("distinct_id"))
    inserts_a, inserts_b = string_buffers(a.record.column("insert_id")), string_buffers(b.record.column("insert_id"))
    _equal_rows(
        rows_a,
        rows_b,
        codes_a,
        events_b.indices.to_numpy(),
        a.record.column("time").to_numpy(),
        b.record.column("time").to_numpy(),
        ids_a.offsets,
        ids_a.data,
        ids_b.offsets,
        ids_b.data,
        inserts_a.offsets,
        inserts_a.data,
        inserts_b.offsets,
        inserts_b.data,
        equal,
    )
    return equal


def _translated(events: pa.DictionaryArray, dictionary: pa.Array) -> npt.NDArray[np.int32]:
    """The codes of ``events`` in another dictionary; -1 where a name is not in it."""
    codes = pc.fill_null(pc.index_in(events.dictionary, value_set=dictionary), -1).to_numpy().astype(np.int32)
    result: npt.NDArray[np.int32] = codes[events.indices.to_numpy()]
    return result
