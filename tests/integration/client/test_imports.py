"""Imports against a cluster that errs: every event is accepted once or named, whatever happens to the calls."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import evenshard
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evenshard.client import Client
from evenshard.errors import EvenshardError, FieldFault
from evenshard.testing.fake_cluster import FakeCluster
from evenshard.testing.fake_state import LoseAnswer, Refuse, ShardSilent, Silent, rows_of_request

START_MS = 1_767_225_600_000


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"event": "view", "distinct_id": f"u{number % 5}", "time": START_MS + number, **more}


def events(count: int) -> list[dict[str, Any]]:
    return [event(number, insert_id=f"id-{number}") for number in range(count)]


def counts(result: Any) -> tuple[int, int, int, int]:
    return result.events_read, result.accepted, result.duplicates, result.rejected


def stored_times(cluster: FakeCluster, tenant: str = "acme") -> list[int]:
    return [row["time"] - START_MS for row in cluster.rows_of(tenant)]


def test_every_event_is_stored_once(cluster: FakeCluster, client: Client) -> None:
    result = client.import_events(event(number) for number in range(2_500))
    assert counts(result) == (2_500, 2_500, 0, 0)
    assert result.by_tenant == {"acme": {"accepted": 2_500, "duplicates": 0, "hot_events_rewritten": 0, "rejected": 0}}
    assert stored_times(cluster) == list(range(2_500))
    assert all(row["insert_id"].startswith("$auto-") for row in cluster.rows_of("acme"))


def test_nothing_to_import_asks_nobody(cluster: FakeCluster, client: Client) -> None:
    assert counts(client.import_events([])) == (0, 0, 0, 0)
    assert counts(client.import_table(pa.table({"event": pa.array([], pa.utf8())}))) == (0, 0, 0, 0)
    assert cluster.imports == []


@pytest.mark.parametrize("with_own_ids", [True, False])
def test_a_lost_answer_is_settled_by_the_same_events_again(
    cluster: FakeCluster, client: Client, with_own_ids: bool
) -> None:
    cluster.script = [LoseAnswer()]
    result = client.import_events(events(25) if with_own_ids else [event(number) for number in range(25)])
    assert counts(result) == (25, 25, 25, 0)
    assert stored_times(cluster) == list(range(25))
    assert len({bytes(request.ndjson) for request in cluster.imports}) == 1


@pytest.mark.parametrize("stored", [True, False])
def test_only_events_of_a_silent_shard_are_sent_again(cluster: FakeCluster, client: Client, stored: bool) -> None:
    cluster.script = [
        ShardSilent(frozenset(["u1", "u3"]), stored),
        Refuse(EvenshardError("OVERLOADED", "busy", retry_after_ms=50)),
        ShardSilent(frozenset(["u3"]), stored),
    ]
    started_s = time.monotonic()
    result = client.import_events(events(25))
    assert time.monotonic() - started_s < 4
    assert counts(result) == (25, 25, 10 if stored else 0, 0)
    assert (result.errors, result.errors_by_code) == ([], {})
    assert stored_times(cluster) == list(range(25))
    sent = [[row["time"] - START_MS for _, row in rows_of_request(each) if row] for each in cluster.imports]
    both = [number for number in range(25) if number % 5 in (1, 3)]
    assert sent == [list(range(25)), both, both, [number for number in both if number % 5 == 3]]


def over_limit(retry_after_ms: int) -> Refuse:
    details = {"tenant": "acme", "limit": "events_per_second"}
    return Refuse(EvenshardError("LIMIT_EXCEEDED", "over", retry_after_ms=retry_after_ms, details=details))


def test_waiting_for_a_limit_takes_as_long_as_asked_and_does_not_count(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.script = [over_limit(200)] * 4
    path = tmp_path / "events"
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in events(25)))
    said: list[tuple[int, str]] = []
    with evenshard.connect(cluster.address, tenant="acme", timeout=0.5) as client:
        started_s = time.monotonic()
        result = client.import_events(events(25))
        waited_s = time.monotonic() - started_s
        cluster.script = [over_limit(50)]
        again = client.import_file(path, on_progress=lambda done, _: said.append((done.events, done.waiting_for)))
    assert waited_s >= 0.8
    assert (counts(result), counts(again)) == ((25, 25, 0, 0), (25, 25, 25, 0))
    assert said == [(0, "acme"), (25, "")]
    assert len({bytes(request.ndjson) for request in cluster.imports[:5]}) == 1


def test_a_caller_who_sets_a_timeout_is_told_of_the_limit_within_it(cluster: FakeCluster, client: Client) -> None:
    cluster.script = [over_limit(100), over_limit(60_000)]
    started_s = time.monotonic()
    with pytest.raises(EvenshardError) as caught:
        client.import_events(events(5), timeout=2)
    assert time.monotonic() - started_s < 2
    assert (caught.value.code, caught.value.retry_after_ms, caught.value.in_doubt) == ("LIMIT_EXCEEDED", 60_000, False)
    assert cluster.rows_of("acme") == []


def test_events_of_a_shard_that_stays_silent_come_back_with_their_places(cluster: FakeCluster) -> None:
    cluster.script = [ShardSilent(frozenset(["u1"]), stored=False)] * 50
    with evenshard.connect(cluster.address, tenant="acme", timeout=0.6) as client:
        started_s = time.monotonic()
        result = client.import_events(events(40), batch_rows=10, in_flight=1)
        assert time.monotonic() - started_s < 4
    assert counts(result) == (40, 32, 0, 8)
    assert [each["index"] for each in result.errors] == [1, 6, 11, 16, 21, 26, 31, 36]
    assert {each["insert_id"] for each in result.errors} == {f"id-{number}" for number in range(1, 40, 5)}
    assert result.errors_by_code == {"SHARD_UNAVAILABLE": 8}
    assert all(each["retryable"] for each in result.errors)
    assert result.by_tenant["acme"] == {
        "accepted": 32, "duplicates": 0, "hot_events_rewritten": 0, "rejected": 8,
    }  # fmt: skip


def test_a_silent_shard_and_then_no_router_keeps_what_was_answered(cluster: FakeCluster) -> None:
    refusal = Refuse(EvenshardError("DISK_FULL", "full"))
    cluster.script = [ShardSilent(frozenset(["u1"]), stored=False), *[refusal] * 50]
    with evenshard.connect(cluster.address, tenant="acme", timeout=0.6) as client:
        result = client.import_events(events(10))
    assert counts(result) == (10, 8, 0, 2)
    assert result.errors_by_code == {"SHARD_UNAVAILABLE": 2}


@pytest.mark.parametrize("form", ["ndjson", "arrow", "parquet"])
def test_places_are_those_of_the_whole_file(cluster: FakeCluster, client: Client, tmp_path: Path, form: str) -> None:
    rows = [event(number) | {"event": "" if number in (7, 1203, 2999) else "view"} for number in range(3_000)]
    path = tmp_path / "events"
    if form == "ndjson":
        path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    cluster.script = [ShardSilent(frozenset(["u2"]), stored=True), LoseAnswer()]
    result = client.import_file(path, batch_rows=500, in_flight=3)
    assert (result.events_read, result.accepted, result.rejected) == (3_000, 2_997, 3)
    assert [(each["index"], each["code"]) for each in result.errors] == [
        (7, "EVENT_MISSING"), (1203, "EVENT_MISSING"), (2999, "EVENT_MISSING"),
    ]  # fmt: skip
    assert len(cluster.stored) == 2_997


def test_blank_lines_count_as_places_not_as_events(cluster: FakeCluster, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(b"\n\n" + orjson.dumps(event(0)) + b"\n\nnot json\n")
    result = client.import_file(path)
    assert (counts(result), [each["index"] for each in result.errors]) == ((2, 1, 0, 1), [4])


def test_an_event_json_cannot_say_is_rejected_alone(cluster: FakeCluster, client: Client) -> None:
    result = client.import_events([event(0), event(1, properties={"x": {1}}), event(2)])
    assert (counts(result), [(each["index"], each["code"]) for each in result.errors]) == (
        (3, 2, 0, 1),
        [(1, "INVALID_JSON")],
    )


def test_strict_imports_are_given_no_ids(cluster: FakeCluster, client: Client) -> None:
    result = client.import_events([event(0), event(1, insert_id="mine")], strict=True)
    assert (result.accepted, result.errors_by_code) == (1, {"INSERT_ID_MISSING": 1})
    assert cluster.imports[0].strict
    table = pa.Table.from_pylist([event(0)])
    assert client.import_table(table, strict=True).errors_by_code == {"INSERT_ID_MISSING": 1}


def test_tables_arrive_as_columns_with_ids(cluster: FakeCluster, client: Client) -> None:
    rows = [event(number) for number in range(100)]
    result = client.import_table(pa.Table.from_pylist(rows), batch_rows=30)
    assert counts(result) == (100, 100, 0, 0)
    assert [request.WhichOneof("payload") for request in cluster.imports] == ["arrow_ipc"] * 4
    assert len({row["insert_id"] for row in cluster.rows_of("acme")}) == 100


def test_an_error_that_is_not_retryable_is_raised_at_once(cluster: FakeCluster, client: Client) -> None:
    fault = FieldFault("time", "missing")
    cluster.script = [Refuse(EvenshardError("COLUMN_MISSING", "no column 'time'", fields=(fault,)))]
    with pytest.raises(EvenshardError) as caught:
        client.import_table(pa.table({"event": ["a"]}))
    assert (caught.value.code, caught.value.fields, caught.value.in_doubt) == ("COLUMN_MISSING", (fault,), False)
    assert len(cluster.imports) == 1


def test_an_unknown_tenant_fails_the_call(client: Client) -> None:
    with pytest.raises(EvenshardError) as caught:
        client.import_events([event(0)], tenant="nobody")
    assert caught.value.code == "TENANT_NOT_FOUND"


def test_an_import_whose_answers_are_all_lost_is_in_doubt(cluster: FakeCluster) -> None:
    cluster.script = [LoseAnswer()] * 100
    with (
        evenshard.connect(cluster.address, tenant="acme", timeout=0.5) as client,
        pytest.raises(EvenshardError) as caught,
    ):
        client.import_events(events(5))
    assert (caught.value.code, caught.value.retryable, caught.value.in_doubt) == ("UNREACHABLE", True, True)
    assert len(cluster.imports) > 1


def test_a_router_that_does_not_answer_is_in_doubt(cluster: FakeCluster) -> None:
    cluster.script = [Silent(1.0)]
    with (
        evenshard.connect(cluster.address, tenant="acme", timeout=0.4) as client,
        pytest.raises(EvenshardError) as caught,
    ):
        client.import_events(events(5))
    assert (caught.value.code, caught.value.in_doubt) == ("DEADLINE_EXCEEDED", True)


def test_doubt_is_not_forgotten_when_the_last_attempt_was_refused(cluster: FakeCluster) -> None:
    cluster.script = [LoseAnswer(), *[Refuse(EvenshardError("OVERLOADED", "busy"))] * 100]
    with (
        evenshard.connect(cluster.address, tenant="acme", timeout=0.5) as client,
        pytest.raises(EvenshardError) as caught,
    ):
        client.import_events(events(5))
    assert (caught.value.code, caught.value.in_doubt) == ("OVERLOADED", True)


def test_an_address_where_nobody_is_fails_soon_and_without_doubt(cluster: FakeCluster) -> None:
    cluster.stop()
    with evenshard.connect(cluster.address, tenant="acme", timeout=60) as client:
        started_s = time.monotonic()
        with pytest.raises(EvenshardError) as caught:
            client.import_events(events(5))
    assert time.monotonic() - started_s < 5
    assert (caught.value.code, caught.value.in_doubt) == ("UNREACHABLE", False)
    assert "evenshard up" in caught.value.hint
    cluster.start()


def test_a_router_that_restarts_is_found_again(cluster: FakeCluster) -> None:
    with evenshard.connect(cluster.address, tenant="acme", timeout=20) as client:
        assert client.import_events(events(5)).accepted == 5
        cluster.stop()
        again = threading.Timer(1.5, cluster.start)
        again.start()
        result = client.import_events(event(number, insert_id=f"id-{number}") for number in range(5, 25))
        again.join()
    assert counts(result) == (20, 20, 0, 0)
    assert stored_times(cluster) == list(range(25))


def test_one_failed_batch_stops_the_import_after_those_in_flight(cluster: FakeCluster, client: Client) -> None:
    cluster.script = [Refuse(EvenshardError("PERMISSION_DENIED", "no"))]
    with pytest.raises(EvenshardError) as caught:
        client.import_events(events(1_000), batch_rows=10, in_flight=3)
    assert caught.value.code == "PERMISSION_DENIED"
    assert len(cluster.imports) <= 5
    assert caught.value.details["accepted"] == str(len(cluster.stored))


def test_what_the_source_raises_is_raised_after_those_in_flight(cluster: FakeCluster, client: Client) -> None:
    def broken() -> Any:
        yield from events(25)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.import_events(broken(), batch_rows=10)
    assert len(cluster.stored) == 20


def test_tenants_named_in_lines_are_made_and_their_events_sent_again(cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "events"
    rows = [event(number, tenant=("acme", "new-1", "new-2")[number % 3]) for number in range(300)]
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    with evenshard.connect(cluster.address) as client:
        refused = client.import_file(path)
        assert refused.errors_by_code == {"TENANT_NOT_FOUND": 200}
        result = client.import_file(path, create_tenant=True, batch_rows=50, in_flight=4)
    assert (result.events_read, result.accepted, result.rejected) == (300, 300, 0)
    assert (sorted(cluster.tenants), sorted(cluster.created)) == (["acme", "new-1", "new-2"], ["new-1", "new-2"])
    assert {name: counts["accepted"] for name, counts in result.by_tenant.items()} == {
        "acme": 100, "new-1": 100, "new-2": 100,
    }  # fmt: skip
    assert stored_times(cluster, "new-1") == list(range(1, 300, 3))


def test_a_tenant_that_could_not_be_made_yet_is_made_later(cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(b"\n".join(orjson.dumps(event(number, tenant="new")) for number in range(100)))
    cluster.create_script = [EvenshardError("DIRECTORY_UNAVAILABLE", "etcd is away")] * 2
    with evenshard.connect(cluster.address) as client:
        result = client.import_file(path, create_tenant=True, batch_rows=25, in_flight=2)
    assert (counts(result), sorted(cluster.tenants)) == ((100, 100, 0, 0), ["acme", "new"])


def test_the_tenant_of_the_call_is_made_before_the_first_event(cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(b"")
    with evenshard.connect(cluster.address) as client:
        for _ in range(2):
            assert counts(client.import_file(path, tenant="fresh", create_tenant=True)) == (0, 0, 0, 0)
    assert "fresh" in cluster.tenants


def test_token_and_trace_travel_with_every_call(cluster: FakeCluster) -> None:
    with evenshard.connect(cluster.address, tenant="acme", token="secret") as client:
        result = client.import_events(events(1))
    assert cluster.metadata[0]["authorization"] == "Bearer secret"
    assert cluster.metadata[0]["traceparent"].split("-")[1] == result.trace_id


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_payloads_may_be_compressed(cluster: FakeCluster, compression: Any) -> None:
    with evenshard.connect(cluster.address, tenant="acme", compression=compression) as client:
        assert client.import_events(events(1_000)).accepted == 1_000
    assert stored_times(cluster) == list(range(1_000))
    assert bool(cluster.imports[0].compression) == (compression != "none")


def test_progress_ends_at_the_whole(cluster: FakeCluster, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text("".join(json.dumps(row) + "\n" for row in events(100)))
    seen: list[tuple[int, int, int | None]] = []
    client.import_file(
        path, batch_rows=10, on_progress=lambda done, size: seen.append((done.events, done.bytes_read, size))
    )
    size = path.stat().st_size
    assert (len(seen), seen[-1]) == (10, (100, size, size))


def test_an_import_told_to_stop_answers_for_what_it_read(cluster: FakeCluster, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text("\n".join(json.dumps(row) for row in events(1_000)))
    result = client.import_file(path, batch_rows=10, in_flight=2, stopping=lambda: len(cluster.imports) >= 5)
    assert result.rejected == 0
    assert result.accepted == len(cluster.stored) < 200
    assert stored_times(cluster) == list(range(result.accepted))
