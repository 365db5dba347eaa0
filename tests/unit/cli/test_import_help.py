"""``import`` when something is wrong: what it writes down, how it goes on, and the sentence that helps."""

import contextlib
import fcntl
import gzip
import json
import signal
import struct
import subprocess
import sys
import termios
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from evenshard.cli.main import run
from evenshard.errors import EvenshardError
from evenshard.testing.fake_cluster import FakeCluster
from evenshard.testing.fake_state import Refuse, ShardSilent, Silent

START_MS = 1_767_225_600_000
FINE = ShardSilent(frozenset(), stored=True)
"""A call that goes well."""

Ask = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    with FakeCluster() as running:
        running.add_tenant("acme")
        monkeypatch.setenv("EVENSHARD_ROUTER", running.address)
        monkeypatch.setenv("EVENSHARD_GATEWAY", running.address)
        yield running


@pytest.fixture
def ask(cluster: FakeCluster, capfd: pytest.CaptureFixture[str]) -> Ask:
    """A command's exit status, its document, and what it says on stderr."""

    def asked(*arguments: str) -> tuple[int, Any, str]:
        status = run([*arguments, "--json"])
        said = capfd.readouterr()
        return status, json.loads(said.out), said.err

    return asked


def line(number: int, **more: Any) -> bytes:
    return orjson.dumps(
        {"event": "view", "distinct_id": "u", "time": START_MS + number, "insert_id": f"id-{number}", **more}
    )


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(each + b"\n" for each in lines))
    return path


def test_rejected_events_are_written_with_what_was_wrong(ask: Ask, tmp_path: Path) -> None:
    huge = line(4).replace(b'"view"', b'"", "n": 18446744073709551616')
    lines = [line(0), b"no json\xff", line(2), b"", line(3, event=""), huge]
    path, rejects = write(tmp_path / "events", lines), tmp_path / "rejects"
    status, document, _ = ask("import", str(path), "--tenant", "acme", "--errors-to", str(rejects), "--batch-rows", "2")
    written = [json.loads(each) for each in rejects.read_bytes().splitlines()]
    assert (status, document["rejected"]) == (1, 3)
    written.sort(key=lambda each: int(each["index"]))
    assert [{name: value for name, value in each.items() if name != "event"} for each in written] == document["errors"]
    assert [each["event"] for each in written] == ["no json�", json.loads(lines[4]), json.loads(huge)]
    assert b"18446744073709551616" in rejects.read_bytes()


def test_rejected_rows_of_tables_are_written_too(ask: Ask, tmp_path: Path) -> None:
    table = pa.table({"event": ["a", "", "c"], "distinct_id": ["u"] * 3, "time": [START_MS] * 3, "n": [1, 2, 3]})
    with pa.ipc.new_stream(tmp_path / "table", table.schema) as writer:
        writer.write_table(table)
    path, rejects = str(tmp_path / "table"), tmp_path / "rejects"
    assert ask("import", path, "--tenant", "acme", "--errors-to", str(rejects), "--from-line", "1")[1]["accepted"] == 1
    (written,) = [json.loads(each) for each in rejects.read_bytes().splitlines()]
    assert (written["index"], written["code"], written["event"]["n"]) == (1, "EVENT_MISSING", 2)


@pytest.mark.parametrize("first", [0, 1, 4, 7, 9, 10, 11])
def test_an_import_begins_at_the_line_it_is_told(ask: Ask, cluster: FakeCluster, tmp_path: Path, first: int) -> None:
    lines = [line(number) if number != 7 else b"bad" for number in range(10)]
    path = tmp_path / "events.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    _, document, _ = ask("import", str(path), "--tenant", "acme", "--from-line", str(first), "--batch-rows", "2")
    assert document["events_read"] == max(0, 10 - first)
    assert [each["index"] for each in document["errors"]] == [7] * (first <= 7)


def test_a_failed_import_says_how_to_go_on(ask: Ask, cluster: FakeCluster, tmp_path: Path) -> None:
    path = write(tmp_path / "my events", [line(number) for number in range(6)])
    cluster.script = [FINE, Refuse(EvenshardError("DATA_DAMAGED", "log 3"))]
    arguments = ["import", str(path), "--tenant", "acme", "--batch-rows", "2", "--in-flight", "1"]
    status, document, _ = ask(*arguments)
    assert (status, document["error"]["details"]["answered_to"]) == (5, "2")
    assert document["error"]["hint"].endswith(
        f"to go on: evenshard import '{path}' --tenant acme --batch-rows 2 --in-flight 1 --router {cluster.address}"
        " --json --from-line 2"
    )
    assert ask(*arguments, "--from-line", "2")[1]["accepted"] == 4


def interrupted(cluster: FakeCluster, path: Path, *, twice: bool) -> tuple[int, Any, str]:
    command = [sys.executable, "-m", "evenshard.cli.main", "import", str(path), "--tenant", "acme", "--json"]
    process = subprocess.Popen([*command, "--batch-rows", "10"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline_s = time.monotonic() + 20
        while len(cluster.imports) < 5 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        if twice:
            assert process.stderr is not None
            while b"Ctrl-C again" not in process.stderr.readline():
                assert time.monotonic() < deadline_s
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    return process.returncode, json.loads(out), err.decode()


def test_the_first_ctrl_c_finishes_what_is_in_flight_and_says_how_to_go_on(
    ask: Ask, cluster: FakeCluster, tmp_path: Path
) -> None:
    path = write(tmp_path / "events", [line(number) for number in range(100_000)])
    status, document, said = interrupted(cluster, path, twice=False)
    taken = document["accepted"]
    assert (status, document["rejected"], document["interrupted"]) == (1, 0, True)
    assert 50 <= taken == len(cluster.stored) < 100_000
    assert document["resume"] == (
        f"evenshard import {path} --tenant acme --batch-rows 10 --router {cluster.address} --json --from-line {taken}"
    )
    assert document["resume"] in said
    resumed = ["--tenant", "acme", "--from-line", str(taken)]
    status, rest, _ = ask("import", str(path), *resumed)
    assert (status, rest["accepted"], rest["duplicates"]) == (0, 100_000 - taken, 0)


def test_the_second_ctrl_c_breaks_off_at_once(cluster: FakeCluster, tmp_path: Path) -> None:
    path = write(tmp_path / "events", [line(number) for number in range(100_000)])
    cluster.script = [FINE, FINE, FINE, FINE, *[Silent(3.0)] * 4]
    status, document, said = interrupted(cluster, path, twice=True)
    assert (status, document["error"]["code"]) == (1, "INTERRUPTED")
    assert "--from-line" in document["error"]["hint"]
    assert document["error"]["details"]["in_doubt"]
    assert "Traceback" not in said


@contextlib.contextmanager
def piped(*flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """An import of standard input, which stays open."""
    command = [sys.executable, "-m", "evenshard.cli.main", "import", "-", "--tenant", "acme", "--json", *flags]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def send(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def wait_stored(cluster: FakeCluster, rows: int) -> None:
    deadline_s = time.monotonic() + 30
    while len(cluster.stored) < rows:
        assert time.monotonic() < deadline_s, len(cluster.stored)
        time.sleep(0.01)
    assert len(cluster.stored) == rows


def test_lines_of_a_pipe_are_stored_while_it_stays_open(cluster: FakeCluster) -> None:
    """One by one, without a pause of 200 ms between them too, and half a line waits for its other half."""
    with piped() as process:
        send(process, line(0) + b"\n" + line(1)[:20])
        wait_stored(cluster, 1)
        send(process, line(1)[20:] + b"\n")
        wait_stored(cluster, 2)
        deadline_s, sent = time.monotonic() + 30, 2
        while len(cluster.stored) == 2:  # a trickle that is never silent
            assert time.monotonic() < deadline_s
            send(process, line(sent) + b"\n")
            sent += 1
            time.sleep(0.05)
        send(process, line(sent))  # a last line without its end
        out, _ = process.communicate(timeout=30)
        document = json.loads(out)
    assert (process.returncode, document["accepted"], document["rejected"]) == (0, sent + 1, 0)


def wait_read(process: subprocess.Popen[bytes]) -> None:
    """Until the pipe is empty."""
    assert process.stdin is not None
    deadline_s = time.monotonic() + 30
    while struct.unpack("i", fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)))[0]:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.parametrize("begun", [True, False])
def test_the_first_ctrl_c_ends_the_wait_for_standard_input(cluster: FakeCluster, begun: bool) -> None:
    with piped() as process:
        if begun:
            send(process, line(0) + b"\n" + line(1) + b"\n")
            wait_stored(cluster, 2)
        send(process, line(2)[:20])
        wait_read(process)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        assert process.stdout is not None
        document = json.loads(process.stdout.read())
    taken = 2 if begun else 0
    assert (process.returncode, document["accepted"], document["rejected"]) == (1, taken, 0)
    assert document["resume"] == (
        f"evenshard import - --tenant acme --router {cluster.address} --json --from-line {taken}"
    )


def test_a_compressed_pipe_is_read_to_its_end_and_ended_by_ctrl_c(cluster: FakeCluster) -> None:
    data = gzip.compress(b"".join(line(number) + b"\n" for number in range(1000)))
    for whole in (True, False):
        with piped() as process:
            if whole:
                out, _ = process.communicate(data, timeout=30)
                assert (process.returncode, json.loads(out)["accepted"]) == (0, 1000)
            else:
                send(process, data[:50])
                wait_read(process)
                process.send_signal(signal.SIGINT)
                process.wait(timeout=30)
                assert process.stdout is not None
                assert process.returncode == 1
                assert json.loads(process.stdout.read())["interrupted"]


def test_the_input_is_not_overwritten_by_its_rejected_events(ask: Ask, tmp_path: Path) -> None:
    path = write(tmp_path / "events", [line(0), b"bad"])
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "hard").hardlink_to(path)
    (tmp_path / "folder").mkdir()
    for errors_to in ("events", "link", "hard", "folder", "nowhere/rejects"):
        for more in ([], ["--from-line", "1"]):
            status, document, _ = ask(
                "import", str(path), "--tenant", "acme", "--errors-to", str(tmp_path / errors_to), *more
            )
            assert (status, document["error"]["code"]) == (2, "USAGE"), errors_to
            assert str(tmp_path / errors_to) in document["error"]["message"]
            assert path.read_bytes() == before
    with path.open("rb") as stdin:
        command = [sys.executable, "-m", "evenshard.cli.main", "import", "-", "--tenant", "acme", "--errors-to"]
        done = subprocess.run([*command, str(path)], stdin=stdin, capture_output=True, timeout=60, check=False)
    assert (done.returncode, path.read_bytes()) == (2, before), done.stderr
    assert b"is what is imported" in done.stderr


def test_rejected_events_that_cannot_be_written_are_said_before_anything_is_sent(
    ask: Ask, cluster: FakeCluster, tmp_path: Path
) -> None:
    path = write(tmp_path / "events", [line(0)])
    status, document, _ = ask("import", str(path), "--tenant", "acme", "--errors-to", str(tmp_path))
    assert (status, document["error"]["message"]) == (2, f"{tmp_path}: Is a directory")
    assert cluster.imports == []
    rejects = tmp_path / "rejects"
    assert ask("import", str(tmp_path / "none"), "--tenant", "acme", "--errors-to", str(rejects))[0] == 2
    assert not rejects.exists()


def test_a_wrong_file_is_named_with_what_to_give_instead(ask: Ask, tmp_path: Path) -> None:
    write(tmp_path / "events.ndjson", [line(0)])

    def hint(name: str) -> str:
        status, document, _ = ask("import", str(tmp_path / name), "--tenant", "acme")
        assert (status, str(tmp_path / name) in document["error"]["message"]) == (2, True)
        return str(document["error"]["hint"])

    assert hint("event.ndjson") == f"did you mean {tmp_path / 'events.ndjson'}?"
    assert "NDJSON (one JSON object a line), Arrow or Parquet" in hint("xyz")
    with zipfile.ZipFile(tmp_path / "events.zip", "w") as archive:
        archive.write(tmp_path / "events.ndjson")
    assert "NDJSON (one JSON object a line), Arrow or Parquet" in hint("events.zip")
    (tmp_path / "folder").mkdir()
    assert hint("folder") == "give one file of it"
    write(tmp_path / "folder" / "a", [line(0)])
    assert hint("folder") == f"give one file of it, as {tmp_path / 'folder' / 'a'}"


def test_a_file_without_events_is_said_to_be_so(ask: Ask, tmp_path: Path) -> None:
    path = str(write(tmp_path / "empty", []))
    assert ask("import", path, "--tenant", "acme")[::2] == (0, f"{path} has no events: it is empty\n")
    path = str(write(tmp_path / "table.csv", [b"event,user", b"view,u"]))
    status, document, said = ask("import", path, "--tenant", "acme")
    assert (status, document["errors_by_code"]) == (1, {"INVALID_JSON": 2})
    assert f"no line of {path} is a JSON object" in said


def test_a_wrong_tenant_is_answered_with_near_names_and_how_to_make_it(ask: Ask, tmp_path: Path) -> None:
    path = str(write(tmp_path / "events", [line(0)]))
    for arguments in (
        ["import", path, "--tenant", "acne"],
        ["admin", "tenant", "acne"],
    ):
        status, document, _ = ask(*arguments)
        assert (status, document["error"]["code"], document["error"]["hint"]) == (
            4,
            "TENANT_NOT_FOUND",
            "did you mean acme? else create it: evenshard admin create-tenant acne",
        )
    assert ask("admin", "tenant", "xyz")[1]["error"]["hint"] == "create it: evenshard admin create-tenant xyz"


def test_people_read_what_was_wrong_in_words(
    cluster: FakeCluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = [line(at, tenant="acme" if at % 2 else "other") for at in range(4)] + [
        b"{",
        line(9, event="", tenant="acme"),
    ]
    assert run(["import", str(write(tmp_path / "events", lines)), "--create-tenant"]) == 1
    said = capfd.readouterr().out.splitlines()
    assert said[1:8] == [
        "tenant  accepted  duplicates  hot  rejected",
        "acme           2           0    0         1",
        "other          2           0    0         0",
        "rejected  code           because",
        "       1  EVENT_MISSING  an event needs a name",
        "       1  INVALID_JSON   the line is not a JSON object",
        said[7],
    ]
    assert said[7].startswith("  line 4: INVALID_JSON")
