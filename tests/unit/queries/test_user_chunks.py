"""Users come in chunks, each once; a caller that has gone ends the pass between two of them."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.scan import DUPLICATE, Part, Parts, ScannedRows
from evenshard.queries import user_chunks
from evenshard.queries.user_chunks import Coded, UserChunks


def rows(users: list[str]) -> ScannedRows:
    record = pa.record_batch(
        {
            "event": pa.array(["e"] * len(users)).dictionary_encode(),
            "distinct_id": pa.array(users),
            "time": pa.array(range(len(users))),
            DUPLICATE: pa.array([False] * len(users)),
        }
    )
    return ScannedRows(record, True, 1)


def choose(some: ScannedRows) -> Coded:
    return Coded(some.record.column("event").indices.to_numpy(), np.array([1], np.uint8))


def passes(count: int) -> Iterator[None]:
    yield from [None] * count
    raise EvenshardError("DEADLINE_EXCEEDED", "too late")


def test_each_user_is_in_one_chunk_with_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_chunks, "CHUNK_ROWS", 2)
    names = [f"u{number % 7}" for number in range(40)]
    chunks = UserChunks(choose, np.uint8, skip_duplicates=True, check=lambda: None)
    parts = Parts([Part.of(rows(names[:25])), Part.of(rows(names[25:])), Part.of(rows(["", ""]))])
    sizes = [np.diff(chunk.starts).tolist() for chunk in chunks.of(parts)]
    assert sorted(chain.from_iterable(sizes)) == sorted(names.count(f"u{number}") for number in range(7))
    assert (len(sizes), chunks.rows) == (7, 42)


def test_a_pass_ends_between_chunks_when_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_chunks, "CHUNK_ROWS", 2)
    left = passes(4)
    chunks = UserChunks(choose, np.uint8, skip_duplicates=True, check=lambda: next(left))
    found = chunks.of(Parts([Part.of(rows([f"u{number}" for number in range(20)]))]))
    assert [len(next(found).times) for _ in range(3)] == [2, 2, 2]
    with pytest.raises(EvenshardError, match="too late"):
        next(found)
