"""A stream of events in files, an Arrow IPC stream each: written once a run, read by every system that is measured."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from evenshard.client.batches import Batch, encode_record

BATCH_ROWS: Final = 50_000
COPIES_SHARE: Final = 0.02
MakeRecord = Callable[[int, int], pa.RecordBatch]
"""``make(first, rows)``: events ``first`` to ``first + rows``, all of them different."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Files in the order of their events."""

    files: Sequence[Path]
    rows: Sequence[int]
    """Of each file."""
    copies: int
    """Rows that are exact copies of earlier ones, insert_id included."""

    @property
    def events(self) -> int:
        return sum(self.rows)

    @property
    def originals(self) -> int:
        return self.events - self.copies

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """What the client sends for these files; each is read when its turn comes."""
        first = sum(self.rows[:start])
        for path, rows in list(zip(self.files, self.rows, strict=True))[start:stop]:
            yield Batch("arrow", path.read_bytes(), rows, first)
            first += rows


def write_dataset(
    folder: Path, events: int, make: MakeRecord, *, seed: int, copies_share: float = 0.0, batch_rows: int = BATCH_ROWS
) -> Dataset:
    """``events`` rows; ``copies_share`` of each batch are copies, half of them of events of that batch, half of any
    earlier one: retries that follow at once, and retries that come late."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng([seed, 2])
    kept: list[pa.RecordBatch] = []
    files, lengths, copied, first = [], [], 0, 0
    for number, start in enumerate(range(0, events, batch_rows)):
        rows = min(batch_rows, events - start)
        copies = int(rows * copies_share)
        record = make(first, rows - copies)
        first += rows - copies
        if copies:
            kept.append(record.take(pa.array(chance.integers(0, record.num_rows, copies))))
            near = copies // 2
            earlier = kept[int(chance.integers(0, len(kept)))]
            far = earlier.take(pa.array(chance.integers(0, earlier.num_rows, copies - near)))
            record = pa.concat_batches([record, kept[-1].slice(0, near), far])
        path = folder / f"batch-{number:06}.arrow"
        path.write_bytes(encode_record(record))
        files.append(path)
        lengths.append(record.num_rows)
        copied += record.num_rows - (rows - copies)
    return Dataset(files, lengths, copied)
