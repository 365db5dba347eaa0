"""Bytes of old versions open for ever, and docs/storage-format.md alone is enough to read what is written today."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from evenshard.ids import TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock

HERE = Path(__file__).parent


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"compat_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reader, make_v1, make_v2, make_v3 = _beside("reader"), _beside("make_v1"), _beside("make_v2"), _beside("make_v3")
make_v4, make_v5, make_v6, make_v7 = (_beside(f"make_v{number}") for number in range(4, 8))


@pytest.fixture(params=["v1", "v2", "v3", "v4", "v5", "v6", "v7"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of committed bytes, and what they hold."""
    root = tmp_path / "shard-0"
    shutil.copytree(HERE / request.param / "shard-0", root)
    return root, json.loads((HERE / request.param / "expected.json").read_text())


def sorted_rows(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {tenant: make_v1.in_order(rows) for tenant, rows in sorted(found.items())}


def test_old_bytes_open_and_answer_as_ever(old: tuple[Path, dict[str, Any]]) -> None:
    root, expected = old
    for _ in range(2):  # the second time as today's version has left it
        disk, reports = LocalDisk(root), list[str]()
        store = Store.open(disk, ManualClock(), make_v1.SHARD, StorageSettings(), reports.append)
        assert reports == []
        assert {tenant: make_v1.rows_of(store, tenant) for tenant in expected} == expected
        for tenant in expected:
            store.compact(TenantId(tenant))
        assert {tenant: make_v1.rows_of(store, tenant) for tenant in expected} == expected
        store.close()
        disk.close()


def test_old_bytes_are_as_the_page_says(old: tuple[Path, dict[str, Any]]) -> None:
    root, expected = old
    assert sorted_rows(reader.read(root)) == expected


def test_what_is_written_today_is_as_the_page_says(tmp_path: Path) -> None:
    store = make_v1.build(tmp_path / "shard-0")
    expected = {tenant: make_v1.rows_of(store, tenant) for tenant in ("acme", "beta-2")}
    store.close()
    assert sum(len(rows) for rows in expected.values()) > 100
    assert any(row["duplicate"] for row in expected["acme"])
    assert any(row["hot"] for row in expected["acme"])
    assert sorted_rows(reader.read(tmp_path / "shard-0")) == expected


def test_deletions_written_today_are_as_the_page_says(tmp_path: Path) -> None:
    store = make_v2.build(tmp_path / "shard-0", make_v1)
    expected = {tenant: make_v1.rows_of(store, tenant) for tenant in ("acme", "beta-2")}
    store.close()
    values = reader.catalog(tmp_path / "shard-0")
    assert [values[f"deletion/acme/{seq}"]["retired"] for seq in (1, 2, 3)] == [True, False, False]
    assert sorted_rows(reader.read(tmp_path / "shard-0")) == expected


def test_ended_quarantines_written_today_are_as_the_page_says(tmp_path: Path) -> None:
    store = make_v3.build(tmp_path / "shard-0", make_v1)
    expected = {tenant: make_v1.rows_of(store, tenant) for tenant in ("acme", "beta-2")}
    store.close()
    values = reader.catalog(tmp_path / "shard-0")
    ended = {value["tenants"][0]: value["state"] for key, value in values.items() if key.startswith("quarantine/")}
    assert (values["meta/format"], ended) == (b"3", {"acme": "mended", "beta-2": "accepted"})
    assert sorted_rows(reader.read(tmp_path / "shard-0")) == expected


def test_filters_of_values_written_today_are_as_the_page_says(tmp_path: Path) -> None:
    """And rule out what is not there."""
    make_v4.build(tmp_path / "shard-0", make_v1).close()
    (info,) = [value for key, value in reader.catalog(tmp_path / "shard-0").items() if key.startswith("segment/")]
    rows = reader.segment(tmp_path / "shard-0", info)
    assert len(rows) == 600
    data = (tmp_path / "shard-0" / info["files"][1]).read_bytes()
    may_hold = reader.value_filter(data, reader.filter_of(data)[1])
    there = {known for row in rows for known in reader.values_of(row)}
    asked = [("s:plan", reader.xxh64(f"p{at}".encode())) for at in range(2_000)]
    wrong = [known for known in asked if may_hold(*known) != (known in there)]
    assert len(wrong) < 20
    assert (may_hold(":plan", 0), may_hold(":plans", 0)) == (True, False)


def test_hot_keys_written_today_are_as_the_page_says(tmp_path: Path) -> None:
    """And a key that is sealed stays so, and copies of kept originals are found, when the shard starts again."""
    root = tmp_path / "shard-0"
    store = make_v5.build(root, make_v1)
    expected = make_v1.rows_of(store, "acme")
    store.close()
    values = reader.catalog(root)
    assert values["meta/format"] == b"6"  # rows of the key were spread
    keys = {value["distinct_id"]: value for key, value in values.items() if key.startswith("hotkey/")}
    assert (keys["Zoë/home"]["sealed"], keys["runaway@elsewhere"]["sealed"]) == (True, False)
    infos = [value for key, value in values.items() if key.startswith("original/")]
    assert [info["id"] for info in infos] == [
        number for page in keys["runaway@elsewhere"]["pages"] for number in page["segments"]
    ]
    rows = [row for info in infos for row in reader.segment(root, info)]
    assert sorted(row["insert_id"] for row in rows) == sorted(f"insert {at}" for at in range(60))
    assert sorted_rows(reader.read(root)) == {"acme": make_v1.in_order(expected)}
    shutil.copytree(root, tmp_path / "copy")
    disk = LocalDisk(tmp_path / "copy")
    again = Store.open(disk, ManualClock(), make_v1.SHARD, StorageSettings(), print)
    held = {each.distinct_id: each for each in again.held_keys(TenantId("acme"), list(keys))}
    assert {name: (each.sealed, each.is_ready, each.nonce, each.has_hot_rows) for name, each in held.items()} == {
        "Zoë/home": (True, True, "nonce-1", True), "runaway@elsewhere": (False, True, "nonce-2", False),
    }  # fmt: skip
    again.close()
    disk.close()


def test_layers_written_today_are_as_the_page_says(tmp_path: Path) -> None:
    """And what comes again meets the originals it should, also when the log is replayed."""
    root = tmp_path / "shard-0"
    store = make_v6.build(root, make_v1)
    expected = make_v1.rows_of(store, "acme")
    store.close()
    values = reader.catalog(root)
    assert values["meta/format"] == b"5"
    layers = {key.split("/")[2]: value for key, value in values.items() if key.startswith("layer/")}
    assert {name: (each["shown"], [counts for _, counts in each["counts"]]) for name, each in layers.items()} == {
        "op1.taken": (False, [True]),
        "op1.brought": (True, [False, True]),
        "op2.taken": (False, [True, False]),
        "op3.brought": (False, [False]),
    }
    assert all(values[f"prepared/acme/{name}"]["done"] for name in ("op1", "op2"))
    assert sorted_rows(reader.read(root)) == {"acme": make_v1.in_order(expected)}
    shown = sorted((row["distinct_id"], row["duplicate"]) for row in expected)
    # of zoë 3 were there before, and 6 came after; of undefined 3 retries before and after; null was deleted, but for 3
    # retries of before and 3 that are new.
    assert {key: shown.count(key) for key in shown} == {
        ("calm", False): 10, ("null", False): 3, ("null", True): 3, ("undefined", True): 6,
        ("zoë", False): 40, ("zoë", True): 9,
    }  # fmt: skip


def test_moves_written_today_are_as_the_page_says(tmp_path: Path) -> None:
    """And a fence holds, and a follower is where it was, when the shard starts again."""
    root = tmp_path / "shard-0"
    store = make_v7.build(root, make_v1)
    expected = make_v1.rows_of(store, "acme")
    record = store.moves.named(TenantId("acme"), "op1")
    store.close()
    values = reader.catalog(root)
    assert values["meta/format"] == b"6"
    moves = {key.split("/")[2]: value for key, value in values.items() if key.startswith("move/")}
    assert {name: (each["revision"], each["fenced_at"], each["is_over"]) for name, each in moves.items()} == {
        "op0": (1, None, True), "op1": (7, None, False), "op2": (9, moves["op2"]["fenced_at"], False),
    }  # fmt: skip
    assert moves["op2"]["slots"] == [[2048, 4095]]
    assert moves["op1"]["follow"]["source"] == "shard-1"
    assert values["foreign/acme"] == {"home": [[0, 4095]], "overflow": []}
    assert sum(value.get("spread_rows", 0) for key, value in values.items() if key.startswith("segment/")) == 12
    layers = {value["name"].split("/")[0]: value["shown"] for key, value in values.items() if key.startswith("layer/")}
    assert layers == {"copied": True, "trash": False}
    assert sorted_rows(reader.read(root)) == {"acme": make_v1.in_order(expected)}
    shutil.copytree(root, tmp_path / "copy")
    disk = LocalDisk(tmp_path / "copy")
    again = Store.open(disk, ManualClock(), make_v1.SHARD, StorageSettings(), print)
    found = again.moves.named(TenantId("acme"), "op1")
    assert record is not None
    assert record.follow is not None
    assert found is not None
    assert found.follow is not None
    assert found.follow.position == record.follow.position  # as far as copied frames say
    assert replace(found, follow=replace(found.follow, rows_done=record.follow.rows_done)) == record
    fenced = again.moves.named(TenantId("acme"), "op2")
    assert fenced is not None
    assert fenced.fenced_at == moves["op2"]["fenced_at"]
    assert make_v1.rows_of(again, "acme") == expected
    again.close()
    disk.close()


def test_the_page_alone_made_the_reader() -> None:
    imported = [
        line for line in (HERE / "reader.py").read_text().splitlines() if "import" in line and "evenshard" in line
    ]
    assert imported == []


def parquet_files(root: Path) -> list[Path]:
    return sorted((root / "segments").glob("*.parquet"))


def test_pyarrow_opens_segments_as_they_are(old: tuple[Path, dict[str, Any]]) -> None:
    root, _ = old
    rows = sum(pq.read_table(path).num_rows for path in parquet_files(root))
    said = [value["rows"] for key, value in reader.catalog(root).items() if key.startswith(("segment/", "original/"))]
    assert rows == sum(said) > 0


def test_duckdb_opens_segments_as_they_are(old: tuple[Path, dict[str, Any]]) -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed: nobody looked whether it opens segments")
    for path in parquet_files(old[0]):
        table = pq.read_table(path)
        question = f"SELECT count(*), sum(time), count(insert_id), sum(duplicate::int) FROM '{path}'"
        assert duckdb.sql(question).fetchall() == [
            (
                table.num_rows,
                sum(table["time"].to_pylist()),
                table.num_rows - table["insert_id"].null_count,
                sum(table["duplicate"].to_pylist()),
            )
        ]
        assert duckdb.sql(f"SELECT event FROM '{path}'").fetchall() == [(x,) for x in table["event"].to_pylist()]


def test_polars_opens_segments_as_they_are(old: tuple[Path, dict[str, Any]]) -> None:
    polars = pytest.importorskip("polars", reason="Polars is not installed: nobody looked whether it opens segments")
    for path in parquet_files(old[0]):
        table = pq.read_table(path)
        frame = polars.read_parquet(path)
        assert frame["event"].cast(polars.String).to_list() == table["event"].to_pylist()
        assert frame["time"].to_list() == table["time"].to_pylist()
        assert frame["duplicate"].to_list() == table["duplicate"].to_pylist()
