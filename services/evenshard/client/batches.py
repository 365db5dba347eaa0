"""What one import call carries: some events of a longer stream, encoded, each with its place in that stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from evenshard.client.import_result import Rejected

PAYLOAD_BYTES_MAX = 15 << 20
"""Of one call; requests hold at most 16 MiB."""
_TOO_LARGE = "the event alone is larger than a request may be"

Encoding = Literal["ndjson", "arrow"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Events to send in one call. ``rows`` counts lines, blank ones too; an empty payload has nothing to send."""

    encoding: Encoding
    payload: bytes
    rows: int
    first: int
    """Place of its first row in the whole stream, from 0."""
    places: Sequence[int] | None = None
    """Places of its rows in the whole stream; None: they follow ``first``."""
    rejects: Sequence[Rejected] = ()
    """Events of this stretch that cannot even be sent."""
    bytes_read: int = 0
    """How much of the source was read up to its end."""

    def place(self, row: int) -> int:
        """Where a row of this batch stands in the whole stream."""
        return self.first + row if self.places is None else self.places[row]

    def only(self, rows: Sequence[int]) -> "Batch":
        """Just these rows, ascending, with the bytes they were first sent with."""
        if self.encoding == "ndjson":
            lines = self.payload.split(b"\n")
            payload = b"\n".join(lines[row] for row in rows)
        else:
            with pa.ipc.open_stream(self.payload) as reader:
                payload = encode_record(reader.read_next_batch().take(pa.array(rows, pa.int64())))
        return Batch(self.encoding, payload, len(rows), self.first, [self.place(row) for row in rows])


def encode_record(record: pa.RecordBatch) -> bytes:
    """An Arrow IPC stream of one batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    result: bytes = sink.getvalue().to_pybytes()
    return result


def batches_of_record(record: pa.RecordBatch, first: int, bytes_read: int = 0) -> Iterator[Batch]:
    """The record in as few batches as a request's size allows."""
    payload = encode_record(record)
    rows = record.num_rows
    if len(payload) <= PAYLOAD_BYTES_MAX:
        yield Batch("arrow", payload, rows, first, bytes_read=bytes_read)
    elif rows == 1:
        yield too_large("arrow", first, bytes_read)
    else:
        half = rows // 2
        yield from batches_of_record(record.slice(0, half), first, bytes_read)
        yield from batches_of_record(record.slice(half), first + half, bytes_read)


def too_large(encoding: Encoding, place: int, bytes_read: int) -> Batch:
    """Stands for an event that no request can hold."""
    return Batch(
        encoding, b"", 1, place, rejects=[Rejected(place, "", "", "", "EVENT_TOO_LARGE", _TOO_LARGE, False)],
        bytes_read=bytes_read,
    )  # fmt: skip
