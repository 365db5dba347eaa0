"""``top``, ``admin shards`` and ``slow-queries`` over answers that are given: documents, tables, exit statuses."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from evenshard.api.v1 import admin_pb2, common_pb2, counter_pb2, debug_pb2
from evenshard.cli import top_command
from evenshard.cli.main import run
from evenshard.client.heat import shards_document, slow_queries_document, top_document


def shard(
    name: str, events: float, keys: dict[str, float] | None = None, *, down: bool = False
) -> admin_pb2.ShardState:
    state = admin_pb2.ShardState(shard=name, address=f"{name}:1", state="down" if down else "active")
    if down:
        state.reason = "nobody answers"
        return state
    state.share = events / 10_000
    state.load.CopyFrom(
        common_pb2.ShardLoad(
            shard=name, window_ms=30_000, events_per_second=events, cpu=0.5, rows=int(events), bytes=3 << 20, tenants=1,
            keys=[
                common_pb2.KeyLoad(tenant="acme", distinct_id=key, events_per_second=rate)
                for key, rate in (keys or {}).items()
            ],
        )
    )  # fmt: skip
    return state


SHARDS = admin_pb2.ListShardsResponse(
    shards=[shard("shard-0", 1_000), shard("shard-1", 9_000, {"runaway": 8_000, "new": 200, "faint": 5})],
    load_of="events_per_second",
    skew=1.8,
    skews=[admin_pb2.Skew(of="events_per_second", skew=1.8), admin_pb2.Skew(of="busy")],
)
KEYS = counter_pb2.ListHotKeysResponse(
    keys=[
        counter_pb2.KeyCount(tenant="acme", distinct_id="old", date="2026-01-01", count=90_000, count_error=7),
        counter_pb2.KeyCount(tenant="acme", distinct_id="runaway", date="2026-01-01", count=80_000, marked="rewrite"),
        counter_pb2.KeyCount(tenant="acme", distinct_id="runaway", date="2026-01-02", count=70_000, marked="observe"),
    ]
)
SLOW = debug_pb2.ListSlowQueriesResponse(
    shards=[
        debug_pb2.SlowQueryGroup(place="shard-1", count=3, p99_ms=812.345, max_ms=900, wait_p99_ms=1, run_p99_ms=811)
    ],
    queries=[
        debug_pb2.SlowQuery(
            at_ms=1_767_225_600_000, place="shard-1", tenant="acme", kind="funnel", event="buy", rows=9, wait_ms=1,
            run_ms=800, trace_id="ab" * 16, failed=True,
        )
    ],
    missing=["shard-0"],
)  # fmt: skip


class Client:
    """Answers with what it is given."""

    def __init__(self, counted: counter_pb2.ListHotKeysResponse | None = KEYS, shards: Any = SHARDS) -> None:
        self.counted = counted
        self.answer = shards
        self.looks = 0

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def top(self, *, limit: int, tenant: str | None) -> dict[str, Any]:
        self.looks += 1
        return top_document(self.answer, self.counted, limit)

    def shards(self) -> dict[str, Any]:
        return shards_document(self.answer)

    def slow_queries(self, by: str, *, limit: int, tenant: str | None, each: bool) -> dict[str, Any]:
        return slow_queries_document(SLOW, each=each)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[[Client], None]:
    def serve(client: Client) -> None:
        monkeypatch.setattr("evenshard.client.connect", lambda *_, **__: client)

    return serve


def test_keys_are_those_of_most_events_now_then_those_counted_most(
    served: Callable[[Client], None], capsys: pytest.CaptureFixture[str]
) -> None:
    served(Client())
    assert run(["top", "--json", "--limit", "4"]) == 0
    document = json.loads(capsys.readouterr().out)
    keys = [
        (each["distinct_id"], each["date"], each["count"], each["share"], each["mode"]) for each in document["keys"]
    ]
    assert keys == [
        ("runaway", "2026-01-02", 70_000, 0.8, "observe"),
        ("new", None, None, 0.02, None),
        ("old", "2026-01-01", 90_000, None, None),
        ("runaway", "2026-01-01", 80_000, None, "rewrite"),
    ]
    [one] = document["diagnosis"]
    assert (one["kind"], one["subject"], one["shard"]) == ("hot_key", "runaway", "shard-1")
    assert "its mark says observe" in one["advice"]  # the newest one


def test_people_see_keys_shards_and_the_diagnosis_last(
    served: Callable[[Client], None], capsys: pytest.CaptureFixture[str]
) -> None:
    served(Client())
    assert run(["top"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "runaway" in lines[1]
    assert any(line.startswith("shard-1") and "█" in line for line in lines)
    assert "skew (max ÷ mean): events per second 1.80" in lines
    assert [line.split(":")[0].strip() for line in lines[-3:]] == [
        "hot key runaway (writes)", "shard-1", "one hot key 'runaway' on shard-1",
    ]  # fmt: skip


def test_without_counters_keys_are_what_shards_tell(
    served: Callable[[Client], None], capsys: pytest.CaptureFixture[str]
) -> None:
    served(Client(None))
    assert run(["top", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [(each["distinct_id"], each["count"]) for each in document["keys"]] == [("runaway", None), ("new", None)]
    assert (document["counters"], len(document["diagnosis"])) == ("down", 1)
    assert run(["top", "--once"]) == 1
    assert "no counter answers" in capsys.readouterr().out


def test_a_terminal_is_shown_anew_until_ctrl_c(
    served: Callable[[Client], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, pauses = Client(), list[float]()
    served(client)

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(top_command.time, "sleep", sleep)
    monkeypatch.setattr(top_command, "is_terminal", lambda: True)
    assert run(["top", "--interval", "500ms"]) == 1
    assert (client.looks, pauses) == (3, [0.5, 0.5, 0.5])
    assert capsys.readouterr().out.count("\x1b[H\x1b[2J") == 3


def test_a_shard_that_is_down_is_named_with_exit_status_1(
    served: Callable[[Client], None], capsys: pytest.CaptureFixture[str]
) -> None:
    served(Client(shards=admin_pb2.ListShardsResponse(shards=[shard("shard-0", 5), shard("shard-1", 0, down=True)],
                                                      load_of="rows")))  # fmt: skip
    assert run(["admin", "shards", "--json"]) == 1
    down = json.loads(capsys.readouterr().out)["shards"][1]
    assert (down["state"], down["reason"], down["rows"], down["events_per_second"]) == (
        "down", "nobody answers", None, None,
    )  # fmt: skip
    assert run(["admin", "shards"]) == 1
    assert "shard-1 is down: nobody answers" in capsys.readouterr().out


def test_slow_queries_say_who_did_not_answer(
    served: Callable[[Client], None], capsys: pytest.CaptureFixture[str]
) -> None:
    served(Client())
    assert run(["slow-queries", "--by", "shard", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "queries": [
            {
                "shard": "shard-1", "tenant": None, "kind": None, "event": None, "count": 3, "p99_ms": 812.345,
                "max_ms": 900.0, "wait_p99_ms": 1.0, "run_p99_ms": 811.0, "rows": 0,
            }
        ],
        "gateways": [],
        "missing": ["shard-0"],
    }  # fmt: skip
    assert run(["slow-queries"]) == 1
    shown = capsys.readouterr().out
    assert "812.3" in shown
    assert "no answer from shard-0" in shown


def test_each_slow_query_is_told_with_its_trace(
    served: Callable[[Client], None], capsys: pytest.CaptureFixture[str]
) -> None:
    served(Client())
    assert run(["slow-queries", "--each", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["each"] == [
        {
            "at_ms": 1_767_225_600_000, "place": "shard-1", "tenant": "acme", "kind": "funnel", "event": "buy",
            "rows": 9, "wait_ms": 1.0, "run_ms": 800.0, "failed": True, "trace_id": "ab" * 16,
        }
    ]  # fmt: skip
    assert run(["slow-queries", "--each"]) == 1
    [line] = [line for line in capsys.readouterr().out.splitlines() if "2026-01-01 00:00:00" in line]
    assert line.split() == [
        "2026-01-01", "00:00:00", "shard-1", "acme", "funnel", "buy", "1.00", "800.00", "9", "no", "answer", "ab" * 16,
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [("--limit", "0"), ("--interval", "2"), ("--by", "shard")])
def test_wrong_flags_are_refused(wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["top", *wrong, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "USAGE"
