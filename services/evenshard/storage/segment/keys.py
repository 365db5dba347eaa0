"""The identity fields of one row group, decoded; finds events in them by binary search in segment order."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import EventBatch
from evenshard.events.hashing import StringBuffers, UInt64, string_buffers
from evenshard.events.scan import PLACEMENT_HASH
from evenshard.kernels import kernel, view
from evenshard.storage.segment.order import Int64, compare_bytes, event_ranks, plain_strings
from evenshard.storage.segment.reader import SegmentReader

Int32 = npt.NDArray[np.int32]

_COLUMNS = (PLACEMENT_HASH, "distinct_id", "time", "event", "insert_id")


@kernel(
    f"void({view('int64')}, {view('uint64')}, {view('int32')}, {view('uint8')}, {view('int64')}, {view('int32')},"
    f"{view('int32')}, {view('int32')}, {view('uint8')},"
    f"{view('uint64')}, {view('int32')}, {view('int32')}, {view('uint8')}, {view('int64')}, {view('int32')},"
    f"{view('int32')}, {view('uint8')}, {view('boolean')}, boolean[::1])"
)
def _find(  # type: ignore[no-untyped-def]
    wanted,
    placement,
    ids,
    id_data,
    times,
    events,
    rank_of_event,
    inserts,
    insert_data,
    page_placement,
    page_id_codes,
    page_ids,
    page_id_data,
    page_times,
    page_ranks,
    page_inserts,
    page_insert_data,
    page_has_insert,
    found,
):
    """``found[i]``: row ``wanted[i]`` of the batch, which has an insert_id, is in the page. Rank -1: no such event."""
    for i in range(wanted.size):
        row = wanted[i]
        found[i] = False
        rank = rank_of_event[events[row]]
        if rank < 0:
            continue
        low, high = np.int64(0), np.int64(page_placement.size)
        while low < high:
            middle = (low + high) >> 1
            verdict = 0
            if page_placement[middle] != placement[row]:
                verdict = -1 if page_placement[middle] < placement[row] else 1
            if verdict == 0:
                code = page_id_codes[middle]
                verdict = compare_bytes(
                    page_id_data, page_ids[code], page_ids[code + 1], id_data, ids[row], ids[row + 1]
                )
            if verdict == 0 and page_times[middle] != times[row]:
                verdict = -1 if page_times[middle] < times[row] else 1
            if verdict == 0 and page_ranks[middle] != rank:
                verdict = -1 if page_ranks[middle] < rank else 1
            if verdict == 0:
                verdict = -1
                if page_has_insert[middle]:
                    verdict = compare_bytes(
                        page_insert_data,
                        page_inserts[middle],
                        page_inserts[middle + 1],
                        insert_data,
                        inserts[row],
                        inserts[row + 1],
                    )
            if verdict == 0:
                found[i] = True
                break
            if verdict < 0:
                low = middle + 1
            else:
                high = middle


@dataclass(frozen=True, slots=True)
class BatchKeys:
    """The identity fields of a batch as numpy views."""

    placement: UInt64
    ids: StringBuffers
    times: Int64
    events: pa.DictionaryArray
    inserts: StringBuffers

    @staticmethod
    def of(batch: EventBatch, placement: UInt64) -> "BatchKeys":
        record = batch.record
        return BatchKeys(
            placement,
            string_buffers(record.column("distinct_id")),
            record.column("time").to_numpy(),
            record.column("event"),
            string_buffers(record.column("insert_id")),
        )


@dataclass(frozen=True, slots=True)
class KeyPage:
    """The identity fields of a row group, in segment order."""

    placement: UInt64
    id_codes: Int32
    ids: StringBuffers
    times: Int64
    names: pa.Array
    """Its event names, sorted bytewise; ``ranks`` number them."""
    ranks: Int32
    inserts: StringBuffers
    bytes: int

    def contains(self, keys: BatchKeys, rows: Int64) -> npt.NDArray[np.bool_]:
        """Of the given rows of a batch, all with an insert_id: whether an equal event is in the page."""
        ranks = pc.fill_null(pc.index_in(keys.events.dictionary, value_set=self.names), -1)
        found = np.empty(rows.size, np.bool_)
        _find(
            rows,
            keys.placement,
            keys.ids.offsets,
            keys.ids.data,
            keys.times,
            keys.events.indices.to_numpy(),
            ranks.to_numpy().astype(np.int32),
            keys.inserts.offsets,
            keys.inserts.data,
            self.placement,
            self.id_codes,
            self.ids.offsets,
            self.ids.data,
            self.times,
            self.ranks,
            self.inserts.offsets,
            self.inserts.data,
            self.inserts.valid,
            found,
        )
        return found


def read_keys(reader: SegmentReader, group: int) -> KeyPage:
    """Decodes the identity fields of one row group."""
    record = reader.read_group(group, _COLUMNS)
    ids = record.column("distinct_id")
    if not pa.types.is_dictionary(ids.type):
        ids = ids.dictionary_encode()
    events = record.column("event")
    if not pa.types.is_dictionary(events.type):
        events = events.dictionary_encode()
    names = sorted(set(events.dictionary.to_pylist()), key=str.encode)
    return KeyPage(
        record.column(PLACEMENT_HASH).to_numpy(),
        ids.indices.to_numpy(),
        string_buffers(ids.dictionary),
        record.column("time").to_numpy(),
        pa.array(names, pa.utf8()),
        event_ranks(events),
        string_buffers(plain_strings(record.column("insert_id"))),
        int(record.nbytes),
    )
