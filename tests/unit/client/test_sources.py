"""Whatever holds events becomes batches: none lost, none twice, each with its place."""

import gzip
import io
import json
import math
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from evenshard.client import files, sources
from evenshard.client.batches import Batch
from evenshard.client.files import EventFile
from evenshard.client.insert_ids import InsertIds
from evenshard.client.sources import batches_of_events, batches_of_table
from evenshard.errors import EvenshardError


def lines_of(batches: list[Batch]) -> list[tuple[int, bytes]]:
    """Every line with its place."""
    out = []
    for batch in batches:
        if batch.payload:
            lines = batch.payload.removesuffix(b"\n").split(b"\n")
            assert len(lines) == batch.rows
            out += [(batch.place(row), line) for row, line in enumerate(lines)]
    return out


def rows_of(batches: list[Batch]) -> list[tuple[int, dict[str, Any]]]:
    return [
        (batch.place(row), values)
        for batch in batches
        for row, values in enumerate(pa.ipc.open_stream(batch.payload).read_all().to_pylist())
    ]


def read(path: Path, **options: Any) -> list[Batch]:
    with EventFile(path) as file:
        return list(file.batches(**{"batch_rows": None, "ids": None, **options}))


LINES = [f'{{"event":"e{number}"}}'.encode() if number % 7 else b"" for number in range(100)]


@pytest.mark.parametrize("ending", [b"", b"\n"])
@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "zstd frames"])
def test_lines_of_a_file_keep_their_places(tmp_path: Path, ending: bytes, batch_rows: int, compression: str) -> None:
    text = b"\n".join(LINES) + ending
    half = len(text) // 2
    packed = {
        "none": text,
        "gzip": gzip.compress(text),
        "zstd": zstandard.compress(text),
        "zstd frames": zstandard.compress(text[:half]) + zstandard.compress(text[half:]),
    }[compression]
    path = tmp_path / "events"
    path.write_bytes(packed)
    batches = read(path, batch_rows=batch_rows)
    assert lines_of(batches) == list(enumerate(LINES))
    assert all(batch.rows <= batch_rows for batch in batches)
    assert batches[-1].bytes_read == len(packed)


def test_blocks_are_bounded_and_cut_at_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LINE_BATCH_BYTES", 64)
    path = tmp_path / "events"
    path.write_bytes(b"\n".join(LINES))
    batches = read(path)
    assert lines_of(batches) == list(enumerate(LINES))
    assert max(len(batch.payload) for batch in batches) <= 64


@pytest.mark.parametrize("last", [b"", b"\nlast"])
def test_a_line_no_request_can_hold_is_rejected_and_costs_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bytes
) -> None:
    monkeypatch.setattr(files, "LINE_BATCH_BYTES", 16)
    monkeypatch.setattr(files, "LINE_BYTES_MAX", 40)
    path = tmp_path / "events"
    path.write_bytes(b"a\n" + b"x" * 41 + b"\nb\n" + b"y" * 500 + last)
    batches = read(path)
    expected = [(0, b"a"), (2, b"b")] + ([(4, b"last")] if last else [])
    assert lines_of(batches) == expected
    rejected = [(each.index, each.code) for batch in batches for each in batch.rejects]
    assert rejected == [(1, "EVENT_TOO_LARGE"), (3, "EVENT_TOO_LARGE")]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_file_that_ends_too_early_is_an_error_not_fewer_events(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "events"
    text = b"".join(orjson.dumps({"event": str(number * 7919)}) + b"\n" for number in range(50_000))
    path.write_bytes(pack(text)[:-20])
    with pytest.raises(EvenshardError) as caught:
        read(path)
    assert caught.value.code == "PAYLOAD_INVALID"


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(b"")
    assert read(path) == []


def test_part_of_a_batch_keeps_places_and_bytes() -> None:
    batch = Batch("ndjson", b"a\nb\n\nd\ne", 5, 100)
    part = batch.only([1, 4])
    assert (part.payload, part.rows, part.place(0), part.place(1)) == (b"b\ne", 2, 101, 104)
    assert part.only([1]).place(0) == 104
    record = next(batches_of_table(pa.table({"event": list("abcde")}), ids=InsertIds("t")))
    again = record.only([1, 4]).only([1])
    assert rows_of([again]) == [(4, {"event": "e", "insert_id": "$auto-t-4"})]


def table_of(rows: int) -> pa.Table:
    return pa.table({"event": [f"e{number % 3}" for number in range(rows)], "time": list(range(rows))})


@pytest.mark.parametrize("form", ["stream", "file", "parquet", "stream.gz", "file.zst", "parquet.gz"])
@pytest.mark.parametrize("batch_rows", [10, 1000])
def test_tables_in_files_keep_their_places(tmp_path: Path, form: str, batch_rows: int) -> None:
    table = table_of(100)
    sink = io.BytesIO()
    if form.startswith("parquet"):
        pq.write_table(table, sink)
    else:
        opened = pa.ipc.new_stream if form.startswith("stream") else pa.ipc.new_file
        with opened(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=33)
    data = sink.getvalue()
    path = tmp_path / "events"
    path.write_bytes(gzip.compress(data) if "gz" in form else zstandard.compress(data) if "zst" in form else data)
    batches = read(path, batch_rows=batch_rows)
    assert rows_of(batches) == list(enumerate(table.to_pylist()))
    assert all(batch.rows <= batch_rows for batch in batches)


def test_a_truncated_table_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "events"
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table_of(10).schema) as writer:
        writer.write_table(table_of(1000))
    path.write_bytes(sink.getvalue()[:-500])
    with pytest.raises(EvenshardError) as caught:
        read(path)
    assert caught.value.code == "PAYLOAD_INVALID"


def test_small_record_batches_are_sent_together_and_large_ones_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.concat_tables([table_of(3) for _ in range(40)])
    batches = list(batches_of_table(table, batch_rows=50, ids=None))
    assert [batch.rows for batch in batches] == [48, 48, 24]
    monkeypatch.setattr(sources, "ROW_BATCH_BYTES", 100)
    assert rows_of(list(batches_of_table(table, ids=None))) == list(enumerate(table.to_pylist()))


def test_a_large_dictionary_is_not_sent_with_every_slice() -> None:
    names = pa.array([f"name-{number:08d}" for number in range(10_000)]).dictionary_encode()
    table = pa.table({"event": names})
    batches = list(batches_of_table(table, batch_rows=100, ids=None))
    assert sum(len(batch.payload) for batch in batches) < 10 * names.nbytes
    assert [row["event"] for _, row in rows_of(batches)] == names.to_pylist()


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(EvenshardError) as caught:
        list(batches_of_table([{"event": "a"}], ids=None))
    assert caught.value.code == "PAYLOAD_INVALID"


def test_dicts_become_lines_with_their_own_ids() -> None:
    events = [
        {"event": "a", "insert_id": "mine"},
        {"event": "b", "properties": {"$insert_id": "mine too"}},
        {"event": "c", "time": datetime(2026, 1, 1, tzinfo=UTC), "properties": {"n": np.int64(3)}},
    ]
    before = json.dumps(events, default=str)
    batches = list(batches_of_events(iter(events), batch_rows=2, ids=InsertIds("t")))
    assert [orjson.loads(line) for _, line in lines_of(batches)] == [
        events[0],
        events[1],
        {"event": "c", "time": "2026-01-01T00:00:00+00:00", "properties": {"n": 3}, "$insert_id": "$auto-t-0"},
    ]
    assert [batch.first for batch in batches] == [0, 2]
    assert json.dumps(events, default=str) == before
    assert b"insert_id" not in next(batches_of_events([{"event": "a"}], ids=None)).payload


def test_an_empty_insert_id_of_a_dict_is_filled() -> None:
    event = {"event": "a", "properties": {"$insert_id": "", "x": 1}}
    batch = next(batches_of_events([event], ids=InsertIds("t")))
    assert orjson.loads(batch.payload) == {"event": "a", "properties": {"$insert_id": "$auto-t-0", "x": 1}}
    assert event["properties"] == {"$insert_id": "", "x": 1}


def test_dicts_json_cannot_say_are_left_to_the_cluster_or_rejected() -> None:
    events: list[Any] = [
        {"event": "nan", "properties": {"x": math.nan, "y": None}},
        {"event": "null", "properties": {"x": None}},
        {"event": "big", "properties": {"x": 2**70}},
        {"event": "lone", "properties": {"x": "\ud800"}},
        {"event": "set", "properties": {"x": {1, 2}}},
        {"event": "good"},
    ]
    batches = list(batches_of_events(events, ids=None))
    assert [line for _, line in lines_of(batches)] == [
        b'{"event": "nan", "properties": {"x": NaN, "y": null}}',
        b'{"event":"null","properties":{"x":null}}',
        b'{"event": "big", "properties": {"x": 1180591620717411303424}}',
        b'{"event": "lone", "properties": {"x": "\\ud800"}}',
        b"",
        b'{"event":"good"}',
    ]
    assert [(each.index, each.code) for each in batches[0].rejects] == [(4, "INVALID_JSON")]


@pytest.mark.parametrize("data", [b"", b'{"event": "vie', b"\x1f\x8b\x08", b"PAR1", b"\xff\xff\xff\xff"])
def test_a_pipe_that_stays_silent_ends_when_asked_to_stop(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with open(reading) as stdin, open(writing, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdin", stdin)
        pipe.write(data)
        with EventFile("-", stopping=lambda: True) as file:
            assert list(file.batches(batch_rows=None, ids=None)) == []
