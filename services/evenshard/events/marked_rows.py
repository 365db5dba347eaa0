"""Rows on their way between shards: an event batch with two columns more, ``duplicate`` and ``hot``. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELDS, EventBatch
from evenshard.events.properties import canonical, concat
from evenshard.events.scan import DUPLICATE, HOT, Bools
from evenshard.events.users import Int64


@dataclass(frozen=True, slots=True, eq=False)
class MarkedRows:
    """Events as they are stored, and what storage knows of them; bool[rows]."""

    batch: EventBatch
    duplicate: Bools
    hot: Bools

    @property
    def rows(self) -> int:
        return self.batch.rows

    def take(self, rows: Int64) -> "MarkedRows":
        """Those rows, in that order."""
        return MarkedRows(self.batch.take(pa.array(rows)), self.duplicate[rows], self.hot[rows])

    def slice(self, start: int, rows: int) -> "MarkedRows":
        part = slice(start, start + rows)
        return MarkedRows(EventBatch(self.batch.record.slice(start, rows)), self.duplicate[part], self.hot[part])

    @staticmethod
    def joined(parts: "Sequence[MarkedRows]") -> "MarkedRows":
        """Those of all, in turn; at least one."""
        return MarkedRows.of_record(concat([part.to_record() for part in parts]))

    def to_record(self) -> pa.RecordBatch:
        """Canonical columns, then the two."""
        record = self.batch.record
        schema = record.schema.append(pa.field(DUPLICATE, pa.bool_())).append(pa.field(HOT, pa.bool_()))
        arrays = [*record.columns, pa.array(self.duplicate), pa.array(self.hot)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def to_ipc(self) -> bytes:
        record = self.to_record()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, record.schema) as writer:
            writer.write_batch(record)
        result: bytes = sink.getvalue().to_pybytes()
        return result

    @staticmethod
    def from_ipc(data: bytes) -> "MarkedRows":
        """Raises ``PAYLOAD_INVALID``."""
        try:
            with pa.ipc.open_stream(data) as reader:
                record = reader.read_next_batch()
            record.validate()
        except (pa.ArrowException, OSError, StopIteration) as error:
            raise EvenshardError("PAYLOAD_INVALID", f"the rows cannot be read: {error}") from error
        names = record.schema.names
        if list(record.schema)[: len(FIELDS)] != list(FIELDS) or names[-2:] != [DUPLICATE, HOT]:
            raise EvenshardError("PAYLOAD_INVALID", "the rows are not in canonical form")
        return MarkedRows.of_record(record)

    @staticmethod
    def of_record(record: pa.RecordBatch) -> "MarkedRows":
        """Of what ``to_record`` gives."""
        return MarkedRows(
            EventBatch(record.drop_columns([DUPLICATE, HOT])),
            record.column(DUPLICATE).to_numpy(zero_copy_only=False),
            record.column(HOT).to_numpy(zero_copy_only=False),
        )

    @staticmethod
    def of_scanned(record: pa.RecordBatch) -> "MarkedRows":
        """Of rows that were scanned with all fields, ``hot`` and all properties."""
        whole = canonical(record)
        return MarkedRows(
            EventBatch(whole.drop_columns([DUPLICATE])),
            record.column(DUPLICATE).to_numpy(zero_copy_only=False),
            record.column(HOT).to_numpy(zero_copy_only=False),
        )
