"""``scripts/demo.sh``, run as a person runs it: what it prints, and that nothing of it is left."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "demo.sh"
TIMEOUT_S = 110.0

pytestmark = pytest.mark.cluster


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory of its own for the demo's files, by whose name its processes are found."""
    with tempfile.TemporaryDirectory(prefix="demo-test-") as directory:
        yield Path(directory)


def _start(temporary: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(SCRIPT), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONIOENCODING": "utf-8"},
        start_new_session=True,
    )


def _left(temporary: Path) -> list[str]:
    """Command lines of processes that use the demo's directory, and what is in it."""
    found = [str(path) for path in temporary.iterdir() if path.name.startswith("evenshard-demo-")]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it ended meanwhile
        if str(temporary) in command:
            found.append(command)
    return found


@pytest.mark.slow
def test_the_demo_answers_and_leaves_nothing(temporary: Path) -> None:
    demo = _start(temporary)
    said, errors = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 0, said + errors
    assert "224,400 accepted" in said
    assert "4,400 of them duplicates; 0 rejected" in said
    for shop in ("bookshop", "bikes", "kites"):
        assert f"\n  {shop}" in said
    days = [line for line in said.splitlines() if line.startswith("  20") and "█" in line]
    assert len(days) >= 29
    funnel = said.partition("== A funnel")[2]
    users = [
        int(count.replace(",", "")) for count in re.findall(r"^[1-4]  [A-Z][a-z ]+ ([\d,]+) ", funnel, re.MULTILINE)
    ]
    assert len(users) == 4
    assert users == sorted(users, reverse=True)
    assert users[0] > users[-1] > 100
    hot = said.partition("== The hot keys")[2].partition("==")[0].splitlines()[2].split()
    assert hot[0] == "stock-sync"
    assert 13_200 - 2_500 < int(hot[1].replace(",", "")) <= 13_200 - 1_900
    tries = said.partition("== Now you")[2].partition("\n\n")[0].splitlines()[1:]
    assert len(tries) == 3
    assert [word in line for word, line in zip(("up", "import", "query"), tries, strict=True)] == [True] * 3
    assert said.rstrip().endswith("the demo's data is removed.")
    assert _left(temporary) == []


def write_events(file: Path, names: Sequence[str], users: Sequence[str]) -> None:
    """One event a name, a millisecond apart, of the users in turn."""
    file.write_bytes(
        b"".join(
            orjson.dumps(
                {
                    "event": name,
                    "properties": {"distinct_id": users[at % len(users)], "time": 1_600_000_000_000 + at},
                }
            )
            + b"\n"
            for at, name in enumerate(names)
        )
    )


@pytest.mark.slow
def test_events_with_odd_names_and_without_users_are_asked_about_too(temporary: Path) -> None:
    file = temporary / "odd.ndjson"
    write_events(file, ["$pageview"] * 3 + ["odd `name` where x"] * 2 + ["$autocapture"], [""])
    demo = _start(temporary, str(file))
    said, errors = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 0, said + errors
    assert "how many times anonymous users of demo had '$pageview', by day" in said
    assert "\n  2020-09-13  3  █" in said
    assert "--step '`odd ``name`` where x`'" in said
    assert _left(temporary) == []


@pytest.mark.slow
def test_own_events_are_asked_about_too(temporary: Path) -> None:
    file = temporary / "own.ndjson"
    names = ["$opened"] * 50 + ["odd `name` where x"] * 30 + ["shared"] * 20
    write_events(file, names, [f"u{number}" for number in range(10)])
    with file.open("ab") as lines:
        lines.write(b"not an event\n")
    demo = _start(temporary, str(file))
    said, errors = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 0, said + errors
    assert "100 accepted" in said
    assert "1 rejected" in said
    assert "how many users of demo had '$opened', by day" in said
    assert "\n  2020-09-13  10  █" in said
    assert re.search(r"^3  shared +10 .*100\.0 %", said, re.MULTILINE)
    assert "None: nobody sent more events in a day" in said
    assert f"import {file} --create-tenant --tenant demo" in said
    assert "--step '`odd ``name`` where x`'" in said
    assert _left(temporary) == []


@pytest.mark.parametrize(
    ("number", "during"),
    [
        (signal.SIGINT, "== Starting a cluster"),
        pytest.param(signal.SIGINT, "$ evenshard import", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "== Starting a cluster", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_demo_leaves_nothing(temporary: Path, number: signal.Signals, during: str) -> None:
    demo = _start(temporary)
    assert demo.stdout is not None
    deadline = time.monotonic() + TIMEOUT_S
    for line in demo.stdout:
        assert time.monotonic() < deadline
        if line.startswith(during):
            break
    os.killpg(demo.pid, number)
    demo.communicate(timeout=60)
    assert demo.returncode in (130, 128 + number)
    assert _left(temporary) == []


def test_a_file_that_is_not_there_is_said_before_anything_is_done(temporary: Path) -> None:
    demo = _start(temporary, "no-such.ndjson")
    said, errors = demo.communicate(timeout=10)
    assert (demo.returncode, said) == (2, "")
    assert "demo: no-such.ndjson is not a file that can be read" in errors
