"""What benchmarks send: the same for the same seed, every event another one, every bad line bad."""

from collections import Counter
from pathlib import Path

import orjson
import pyarrow as pa
from evenshard.errors import EVENT_CODES
from evenshard.events.ndjson_codec import decode_ndjson
from evenshard.testing.bench.dataset import write_dataset
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import (
    BAD_LINES,
    DAYS,
    LARGE_EVERY,
    LARGE_LINE,
    NOT_OF_LINES,
    START_MS,
    lines_of,
    record_of,
    sessions_of,
)

SEED = 7
NOW_MS = 1_800_000_000_000


def test_batches_depend_on_seed_and_place_only() -> None:
    again = record_of(SEED, 500, 100)
    assert record_of(SEED, 500, 100).equals(again)
    assert not record_of(SEED + 1, 500, 100).equals(again)
    ids = [
        text for first in range(0, 5_000, 500) for text in record_of(SEED, first, 500).column("insert_id").to_pylist()
    ]
    assert len(set(ids)) == 5_000


def test_lines_say_what_columns_say() -> None:
    payload, bad = lines_of(SEED, 0, 50)
    rows = [orjson.loads(line) for line in payload.splitlines()]
    flat = [
        {**row["properties"], "event": row["event"], "insert_id": row["properties"].pop("$insert_id")} for row in rows
    ]
    for row in flat:
        row.pop("$insert_id", None)
    assert (flat, bad) == (record_of(SEED, 0, 50).to_pylist(), 0)


def codes_of(payload: bytes) -> list[str]:
    decoded = decode_ndjson(payload, tenant="t", strict=True, now_ms=NOW_MS)
    assert decoded.rows == len(payload.splitlines())
    return [reject.code for reject in decoded.rejects]


def test_there_is_a_bad_line_of_every_code_a_line_can_cause() -> None:
    assert {*BAD_LINES, "EVENT_TOO_LARGE"} | set(NOT_OF_LINES) == EVENT_CODES
    assert not {*BAD_LINES, "EVENT_TOO_LARGE"} & set(NOT_OF_LINES)
    for code, lines in BAD_LINES.items():
        assert codes_of(b"\n".join(lines)) == [code] * len(lines)
    assert codes_of(LARGE_LINE) == ["EVENT_TOO_LARGE"]


def test_bad_lines_are_rejected_and_the_others_are_not() -> None:
    payload, bad = lines_of(SEED, 0, 5_000, bad_share=0.1)
    codes = codes_of(payload)
    assert (len(codes), 300 < bad < 700) == (bad, True)
    assert Counter(codes)["EVENT_TOO_LARGE"] == 1
    assert set(codes) == {*BAD_LINES, "EVENT_TOO_LARGE"}
    payload, _ = lines_of(SEED, LARGE_EVERY - 1_000, 1_000, bad_share=0.1)
    assert "EVENT_TOO_LARGE" not in codes_of(payload)


def test_a_figure_is_one_line_with_the_contracts_keys() -> None:
    figure = Figure("move", 3.0, "bytes/s", 5)
    assert list(orjson.loads(figure.to_json())) == [
        "name", "value", "unit", "events", "peer", "peer_value", "ratio", "detail",
    ]  # fmt: skip
    assert "\n" not in figure.to_text()


def test_sessions_are_seeded_and_all_their_events_differ() -> None:
    parts = [sessions_of(SEED, first, 500, of=5_000) for first in range(0, 5_000, 500)]
    assert parts[3].equals(sessions_of(SEED, 1_500, 500, of=5_000))
    table = pa.Table.from_batches(parts)
    assert len(set(table.column("insert_id").to_pylist())) == 5_000
    times = table.column("time").to_numpy()
    assert times.min() >= START_MS
    assert times.max() < START_MS + DAYS * 86_400_000


def test_users_of_sessions_pass_the_steps_of_a_funnel() -> None:
    table = sessions_of(SEED, 0, 20_000, of=20_000)
    reached: dict[str, int] = {}
    for _, user, name in sorted(
        zip(*(table.column(each).to_pylist() for each in ("time", "distinct_id", "event")), strict=True)
    ):
        level = reached.get(user, 0)
        if level < 3 and name == ("view", "add to cart", "buy")[level]:
            reached[user] = level + 1
    levels = [sum(level >= step for level in reached.values()) for step in (1, 2, 3)]
    assert levels[0] > levels[1] > levels[2] > levels[0] // 20


def test_copies_in_a_dataset_are_exact_and_follow_their_originals(tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "data", 10_500, lambda first, rows: sessions_of(SEED, first, rows, of=10_500),
        seed=SEED, copies_share=0.02, batch_rows=1_000,
    )  # fmt: skip
    rows = [
        tuple(row.values())
        for path in data.files
        for row in pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist()
    ]
    assert (len(rows), data.events, data.copies) == (10_500, 10_500, 210)
    assert len(set(rows)) == data.originals == 10_290
    assert len({row[3] for row in rows}) == 10_290
    batches = list(data.batches(2, 4))
    assert [(batch.first, batch.rows) for batch in batches] == [(2_000, 1_000), (3_000, 1_000)]
    assert batches[0].payload == data.files[2].read_bytes()
