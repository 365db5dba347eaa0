"""``traces`` over a file of spans, and over what a cluster answers: documents, waterfalls, exit statuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from evenshard.cli import traces_command
from evenshard.cli.main import run

MS = 1_000_000


def span(trace: str, name: str, took_ms: int, *, status: str = "OK", **attributes: Any) -> dict[str, Any]:
    return {
        "trace_id": trace * 32, "span_id": trace * 16, "parent_span_id": None, "name": name, "service": "router-0",
        "start_unix_ns": 0, "end_unix_ns": took_ms * MS, "status": status, "attributes": attributes, "links": [],
    }  # fmt: skip


SPANS = [
    span("a", "client.query", 5), span("b", "client.import", 9), span("c", "shard.compaction", 99),
    span("d", "client.query", 1, status="ERROR"),
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "spans.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in SPANS))
    return path


def roots(out: str) -> list[str]:
    return [each["trace_id"][0] for each in json.loads(out)["traces"]]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "bad"), (["--slowest", "1"], "b"), (["--background"], "cbad"), (["--failed"], "d"), (["A" * 32], "a"),
    ],
)  # fmt: skip
def test_a_file_is_read_without_asking_anybody(
    file: Path, flags: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["traces", *flags, "--file", str(file), "--json"]) == 0
    assert "".join(roots(capsys.readouterr().out)) == expected


def test_a_trace_is_exactly_what_the_contract_says(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["traces", "b" * 32, "--file", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "traces": [{"trace_id": "b" * 32, "root": "client.import", "duration_ms": 9.0, "spans": [SPANS[1]]}]
    }
    assert run(["traces", "b" * 32, "--file", str(file)]) == 0
    assert capsys.readouterr().out.startswith("client.import: 9.0 ms at 1970-01-01T00:00:00.000+00:00, trace bbbb")


def test_lines_that_are_no_spans_are_counted_and_the_last_ones_are_looked_at(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with file.open("a") as lines:
        lines.write('{"trace_id": 1}\nno json\n[]\n')
    assert run(["traces", "--file", str(file), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["lines_unreadable"] == 3
    monkeypatch.setattr(traces_command, "SPANS_MAX", 2)
    assert run(["traces", "--background", "--file", str(file), "--json"]) == 1
    assert roots(capsys.readouterr().out) == ["c", "d"]


def test_what_nobody_remembers_is_not_found(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [["f" * 32, "--file", str(file)], ["nonsense", "--file", str(file)], ["--file", str(tmp_path / "absent")]]
    statuses = [run(["traces", *flags, "--json"]) for flags in wrong]
    codes = [json.loads(line)["error"]["code"] for line in capsys.readouterr().out.splitlines()]
    assert list(zip(statuses, codes, strict=True)) == [(4, "TRACE_NOT_FOUND"), (2, "QUERY_INVALID"), (2, "USAGE")]
