"""Mistakes people make in their first five minutes, each answered by a sentence that helps; real processes.

Made by this user with this installation, and (soak) by a user who has nothing but a fresh clone.
"""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from evenshard.testing.account import Account
from evenshard.testing.processes import ClusterProcess, free_base_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
START_MS = 1_767_225_600_000


@pytest.fixture(
    scope="module",
    params=["here", pytest.param("fresh_machine", marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def account(request: pytest.FixtureRequest) -> Account:
    """Who makes the mistakes."""
    if request.param == "here":
        return Account()
    account: Account = request.getfixturevalue(request.param).account
    return account


@pytest.fixture(scope="module")
def cluster(account: Account) -> Iterator[ClusterProcess]:
    with account.folder("cluster") as folder, ClusterProcess(folder / "data", shards=1, account=account) as running:
        yield running


@pytest.fixture
def folder(account: Account) -> Iterator[Path]:
    with account.folder("mistakes") as folder:
        yield folder


@pytest.fixture
def told(account: Account, cluster: ClusterProcess) -> Callable[..., tuple[int, str]]:
    """A command's exit status and what a person reads of it."""

    def run(*arguments: str, router: str = "") -> tuple[int, str]:
        addresses = {"EVENSHARD_ROUTER": router or cluster.router, "EVENSHARD_GATEWAY": router or cluster.gateway}
        done = subprocess.run(
            [*account.evenshard, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            **account.options(**addresses),
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    return run


def event(number: int, tenant: str) -> bytes:
    properties = {"distinct_id": "u", "time": START_MS + number, "$insert_id": f"i{number}"}
    return orjson.dumps({"tenant": tenant, "event": "view", "properties": properties}) + b"\n"


def test_a_taken_port_is_named_with_a_free_one(account: Account, folder: Path) -> None:
    base_port = free_base_port()
    with socket.create_server(("127.0.0.1", base_port + 1)):
        done = subprocess.run(
            [*account.evenshard, "up", "--data-dir", str(folder / "data"), "--base-port", str(base_port)],
            capture_output=True, text=True, timeout=60, **account.options(),
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (4, "")
    assert f"PORT_IN_USE: port {base_port + 1}, for gateway-0, cannot be used" in done.stderr
    suggested = re.search(r"stop what listens there, or choose another: --base-port (\d+)", done.stderr)
    assert suggested is not None
    assert int(suggested[1]) > base_port + 10


def test_a_wrong_tenant_gets_near_names_and_the_way_to_make_it(told: Callable[..., Any], folder: Path) -> None:
    path = folder / "events"
    path.write_bytes(event(0, "numpy"))
    assert told("import", str(path), "--create-tenant")[0] == 0
    days = ["--from", "2026-01-01", "--to", "2026-01-02"]
    for arguments in (
        ["import", str(path), "--tenant", "nunpy"],
        ["query", "segmentation", "--tenant", "nunpy", *days],
    ):
        status, said = told(*arguments)
        assert (status, "TENANT_NOT_FOUND" in said) == (4, True)
        assert "did you mean numpy? else create it: evenshard admin create-tenant nunpy" in said
    path.write_bytes(event(1, "nobody"))
    status, said = told("import", str(path))
    assert (status, "nobody made the tenant: --create-tenant makes those that are named" in said) == (1, True)


def test_a_wrong_file_is_answered_with_what_to_give(told: Callable[..., Any], folder: Path) -> None:
    (folder / "events.csv").write_text("event,user\nview,u\n")
    (folder / "empty").touch()
    for name, status, sentence in (
        ("missing", 2, "give NDJSON (one JSON object a line), Arrow or Parquet"),
        ("event.csv", 2, f"did you mean {folder / 'events.csv'}?"),
        ("", 2, "is a directory"),
        ("empty", 0, "has no events: it is empty"),
        ("events.csv", 1, "no line of"),
    ):
        found, said = told("import", str(folder / name), "--tenant", "numpy", "--create-tenant")
        assert (found, sentence in said) == (status, True), said


def test_without_a_cluster_it_is_said_how_to_start_one(told: Callable[..., Any]) -> None:
    for arguments in (["import", __file__], ["admin", "tenants"], ["status"]):
        status, said = told(*arguments, router=f"127.0.0.1:{free_base_port()}")
        assert (status, "evenshard up" in said) == (3, True), said


def test_ctrl_c_twice_ends_an_import_at_once_and_it_can_go_on(
    account: Account, cluster: ClusterProcess, told: Callable[..., Any], folder: Path
) -> None:
    told("admin", "create-tenant", "slow")
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [*account.evenshard, "import", str(pipe), "--tenant", "slow", "--batch-rows", "100"],
        stderr=subprocess.PIPE, text=True, **account.options(EVENSHARD_ROUTER=cluster.router),
    )  # fmt: skip
    stopped = threading.Event()

    def feed() -> None:
        """A producer that never ends."""
        with pipe.open("wb", buffering=0) as file:
            file.write(b"".join(event(number, "slow") for number in range(60_000)))
            stopped.wait(60)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        deadline_s = time.monotonic() + 30
        days = ["--from", "2026-01-01", "--to", "2026-01-02"]
        while "overall" not in (said := told("query", "segmentation", "--tenant", "slow", *days)[1]) or re.search(
            r"overall +0", said
        ):
            assert time.monotonic() < deadline_s, said
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "Ctrl-C again" not in process.stderr.readline():
            assert time.monotonic() < deadline_s
        began_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert (process.returncode, time.monotonic() - began_s < 5) == (1, True)
    finally:
        process.kill()
        stopped.set()
        feeder.join()
    resume = re.search(r"to go on: evenshard import .* --from-line (\d+)", said)
    assert resume is not None, said
    assert 0 < int(resume[1]) <= 60_000
    assert "INTERRUPTED" in said


def test_ctrl_c_twice_ends_a_cluster_at_once_and_says_that_nothing_is_lost(account: Account, folder: Path) -> None:
    up = [*account.evenshard, "up", "--data-dir", str(folder / "data"), "--base-port", str(free_base_port())]
    up += ["--timeout", "180s"]
    process = subprocess.Popen(
        [*up, "--shards", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0, **account.options(),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("ready")
        process.send_signal(signal.SIGINT)
        while "Ctrl-C again ends everything at once" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode in (0, 1)  # 0: everything had ended in between
        assert process.returncode == 0 or "what was acknowledged is on disk" in said
    finally:
        process.kill()
