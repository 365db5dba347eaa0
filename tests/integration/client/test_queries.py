"""Segmentation, export and administration through both clients."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import evenshard
import evenshard.aio
import pyarrow as pa
import pytest
from evenshard.client import Client
from evenshard.errors import EvenshardError
from evenshard.testing.fake_cluster import FakeCluster

START_MS = 1_767_225_600_000
RANGE: dict[str, Any] = {"from_date": "2026-01-01", "to_date": "2026-01-31"}


@pytest.fixture
def filled(cluster: FakeCluster, client: Client) -> Client:
    """Five events."""
    client.import_events(
        {
            "event": "view" if number else "buy",
            "distinct_id": f"u{number}",
            "time": START_MS + number,
            "insert_id": f"id-{number}",
            "properties": {"n": (None, True, 7, 2.5, "x")[number]},
        }
        for number in range(5)
    )
    return client


def test_a_segmentation_has_the_fields_of_its_json(cluster: FakeCluster, filled: Client) -> None:
    result = filled.segmentation(
        ["view", "buy"], **RANGE, unit="month", measure="unique", by=["n"], where='n == 7', limit=9,
        include_duplicates=True, allow_partial=True,
    )  # fmt: skip
    asked = cluster.queries[0]
    assert (asked.tenant, list(asked.events), asked.from_date, asked.to_date) == (
        "acme", ["view", "buy"], "2026-01-01", "2026-01-31",
    )  # fmt: skip
    assert (asked.unit, asked.measure, list(asked.by), asked.where, asked.limit) == (
        "month",
        "unique",
        ["n"],
        "n == 7",
        9,
    )
    assert (asked.options.include_duplicates, asked.options.allow_partial) == (True, True)
    assert {type(line["by"][0]).__name__: line["by"] for line in result.series} == {
        "NoneType": [None], "bool": [True], "int": [7], "float": [2.5], "str": ["x"],
    }  # fmt: skip
    assert list(result.to_dict()) == ["buckets", "series", "meta"]
    assert (result.unit, result.measure, result.by, result.incomplete) == ("month", "unique", ("n",), 0)
    assert result.meta["complete"] is False
    assert sorted(result.to_arrow().column("n").to_pylist(), key=str) == ['"x"', "2.5", "7", None, "true"]


def test_a_breakdown_of_one_type_keeps_it(filled: Client) -> None:
    table = filled.segmentation(**RANGE, by="$event").to_arrow()
    assert table.to_pydict() == {"bucket": ["2026-01-01"] * 2, "$event": ["view", "buy"], "value": [4, 1]}


def test_a_whole_request_may_be_given_as_json(cluster: FakeCluster, filled: Client) -> None:
    result = filled.segmentation_of(
        '{"tenant": "acme", "from_date": "2026-01-01", "to_date": "2026-01-31", "options": {"allow_partial": true}}'
    )
    assert (result.series[0]["overall"], cluster.queries[0].options.allow_partial) == (5, True)
    with pytest.raises(EvenshardError) as caught:
        filled.segmentation_of('{"funnel": []}')
    assert caught.value.code == "QUERY_INVALID"


def test_queries_are_retried_only_where_that_may_help(cluster: FakeCluster, filled: Client) -> None:
    cluster.query_script = [EvenshardError("SHARD_UNAVAILABLE", "shard-1"), EvenshardError("STALE_EPOCH", "old")]
    assert filled.segmentation(**RANGE).series[0]["overall"] == 5
    assert len(cluster.queries) == 3
    cluster.query_script = [EvenshardError("QUERY_INVALID", "no")]
    with pytest.raises(EvenshardError) as caught:
        filled.segmentation(**RANGE)
    assert (caught.value.code, caught.value.trace_id, len(cluster.queries)) == (
        "QUERY_INVALID",
        "0123456789abcdef" * 2,
        4,
    )


def test_a_call_without_tenant_is_refused_here(cluster: FakeCluster) -> None:
    with evenshard.connect(cluster.address, cluster.address) as client, pytest.raises(EvenshardError) as caught:
        client.segmentation(**RANGE)
    assert caught.value.code == "USAGE"


def test_an_export_gives_rows_in_order_and_its_account(filled: Client) -> None:
    export = filled.export(datetime(2026, 1, 1), "2027-01-01T00:00:00+01:00")
    rows = list(export)
    assert [row["properties"]["time"] - START_MS for row in rows] == list(range(5))
    assert export.to_dict() == {"rows": 5, "bytes": export.bytes, "cursor": "5", "complete": True}
    table = filled.export(0, START_MS * 2, format="arrow").to_arrow()
    assert table.column("insert_id").to_pylist() == [f"id-{number}" for number in range(5)]
    assert next(iter(filled.export(0, 1, format="arrow")))["event"] == "buy"
    assert next(filled.export(0, 1, format="arrow").batches()).num_rows == 2
    polars = pytest.importorskip("polars", reason="SKIPPED: NO POLARS (pip install evenshard[frames])")
    whole = filled.export(0, START_MS * 2, format="arrow")
    assert polars.DataFrame.equals(whole.to_polars(), polars.from_arrow(table))
    assert repr(whole) == "<export of acme as arrow: 5 rows so far, complete>"


def test_a_saved_export_is_every_line_once_also_after_a_cursor(
    cluster: FakeCluster, filled: Client, tmp_path: Path
) -> None:
    whole = b"".join(filled.export(0, START_MS * 2).payloads())
    saved, cut = tmp_path / "saved.ndjson", tmp_path / "cut.ndjson"
    filled.export(0, START_MS * 2).save(saved)
    first = filled.export(0, START_MS * 2)
    cut.write_bytes(next(first.payloads()))
    filled.export(0, START_MS * 2, cursor=first.cursor).save(cut)
    assert (saved.read_bytes(), cut.read_bytes()) == (whole, whole)
    with pytest.raises(EvenshardError, match="USAGE"):
        filled.export(0, 1, format="arrow").save(saved)


def test_a_broken_export_goes_on_behind_its_last_row(cluster: FakeCluster, filled: Client) -> None:
    cluster.export_breaks_after = [1, 0, 1]
    rows = list(filled.export(0, START_MS * 2))
    assert [row["properties"]["$insert_id"] for row in rows] == [f"id-{number}" for number in range(5)]
    assert [request.cursor for request in cluster.exports] == ["", "2", "2", "4"]


def test_an_export_that_cannot_go_on_says_where_it_is(cluster: FakeCluster) -> None:
    with evenshard.connect(cluster.address, cluster.address, tenant="acme", timeout=0.5) as client:
        client.import_events([{"event": "a", "time": number, "distinct_id": "u"} for number in range(4)])
        cluster.export_breaks_after = [1] + [0] * 100
        export = client.export(0, 9)
        with pytest.raises(EvenshardError) as caught:
            list(export)
    assert (caught.value.code, export.cursor, export.rows, export.complete) == ("UNREACHABLE", "2", 2, False)


@pytest.mark.parametrize("time", ["2026-01-01", "yesterday", "2026-01-01T00:00:00", True, None])
def test_times_without_an_instant_are_refused(client: Client, time: Any) -> None:
    with pytest.raises(EvenshardError) as caught:
        client.export(time, 1)
    assert caught.value.code == "RANGE_INVALID"


def test_tenants_are_made_changed_and_shown(client: Client) -> None:
    made = client.create_tenant("shop", timezone="Europe/Berlin", strict=True, hot_key_threshold=500)
    assert (made["timezone"], made["dedupe"], made["strict"]) == ("Europe/Berlin", True, True)
    assert (made["hot_key_threshold"], made["hot_key_mode"]) == (500, "rewrite")
    assert made["placement"]["slots"][1] == {"first": 2048, "last": 4095, "shard": "shard-1"}
    assert client.set_tenant("shop", dedupe=False) == made | {"dedupe": False}
    assert client.tenant("shop") == made | {"dedupe": False}
    assert [each["tenant"] for each in client.tenants()["tenants"]] == ["acme", "shop"]
    with pytest.raises(EvenshardError) as caught:
        client.create_tenant("shop")
    assert caught.value.code == "TENANT_EXISTS"
    assert client.compact("shop", day="2026-01-01", wait=True)["segments_written"] == 1
    assert [each["tenant"] for each in client.storage("shop")["tenants"]] == ["shop"]


def test_addresses_come_from_the_environment(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENSHARD_ROUTER", cluster.address)
    monkeypatch.setenv("EVENSHARD_GATEWAY", cluster.address)
    monkeypatch.setenv("EVENSHARD_TOKEN", "from the environment")
    with evenshard.connect(tenant="acme") as client:
        client.import_events([{"event": "a"}])
        assert client.segmentation(**RANGE).series[0]["overall"] == 1
    assert cluster.metadata[0]["authorization"] == "Bearer from the environment"


ASYNC_PROGRAM = """
import asyncio, sys
import evenshard.aio

async def main(address):
    async with evenshard.aio.connect(address, address, tenant="acme") as client:
        result = await client.import_events([{"event": "a", "distinct_id": "u", "time": n} for n in range(3)])
        answer = await client.segmentation(from_date="2026-01-01", to_date="2026-01-01")
        export = client.export(0, 10)
        rows = [row async for row in export]
        print(result.accepted, answer.series[0]["overall"], len(rows), export.complete)
        print("numba" in sys.modules, "pandas" in sys.modules, "evenshard.events.hashing" in sys.modules)

asyncio.run(main(sys.argv[1]))
"""


def test_the_async_client_has_the_same_names_and_no_heavy_imports(cluster: FakeCluster) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASYNC_PROGRAM, cluster.address], capture_output=True, text=True, timeout=30
    )
    assert (done.stdout.split(), done.stderr) == (["3", "3", "3", "True", "False", "False", "False"], "")
    names = {name for name in dir(evenshard.aio.AsyncClient) if not name.startswith("_")} - {"timeout"}
    assert names == {name for name in dir(Client) if not name.startswith("_")}


def test_utc_is_what_a_datetime_without_a_zone_means(cluster: FakeCluster, client: Client) -> None:
    client.export(datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)).to_dict()
    list(client.export(datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)))
    assert (cluster.exports[0].start_ms, cluster.exports[0].end_ms) == (START_MS, START_MS)


def test_whatever_offers_itself_as_a_table_is_one(cluster: FakeCluster, client: Client) -> None:
    class Frame:
        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            return pa.table({"event": ["a"], "time": [1], "distinct_id": ["u"]}).__arrow_c_stream__(requested_schema)

    assert client.import_table(Frame()).accepted == 1
    assert client.import_table(pa.table({"event": ["a"], "time": [2], "distinct_id": ["u"]}).to_reader()).accepted == 1
