"""``evenshard import`` on a terminal: a bar with share, counts, rate and time left; Ctrl-C there says what it does."""

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from struct import pack

import pytest
from evenshard.testing.fake_cluster import FakeCluster

EVENTS = 120_000
COLUMNS = 150
WAIT_S = 60.0
# The first terminal a session's leader opens controls it.
TAKE_TERMINAL = "import os, sys; os.close(os.open(sys.argv[1], os.O_RDWR)); os.execv(sys.argv[2], sys.argv[2:])"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
FRAME = re.compile(r"(\d+)% ([\d,]+) events, ([\d,]+)/s, ([\d,]+) dup, ([\d,]+) rej +(\d+):(\d\d):(\d\d)")


class Terminal:
    """A command on a terminal of its own, which it controls; what it showed so far, without colours and moves."""

    def __init__(self, *command: str) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, pack("HHHH", 40, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, os.ttyname(slave), *command],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(slave)

    def read(self, deadline_s: float) -> bool:
        """A bit more; False: it has ended."""
        assert select.select([self._master], [], [], max(0.0, deadline_s - time.monotonic()))[0], self.shown
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # nobody has the other end any more
            return False
        self.shown += CONTROL.sub("", data.decode())
        return bool(data)

    def wait_for(self, pattern: "re.Pattern[str]") -> "re.Match[str]":
        deadline_s = time.monotonic() + WAIT_S
        while not (found := pattern.search(self.shown)):
            assert self.read(deadline_s), self.shown
        return found

    def type(self, key: bytes) -> None:
        os.write(self._master, key)

    def finish(self) -> int:
        deadline_s = time.monotonic() + WAIT_S
        while self.read(deadline_s):
            pass
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        os.close(self._master)


@pytest.fixture
def terminal(cluster: FakeCluster, tmp_path: Path) -> Iterator[Terminal]:
    """On which a file is imported, long enough to be looked at, a third of it twice."""
    file = tmp_path / "events.ndjson"
    file.write_bytes(
        b"".join(
            b'{"event":"view","properties":{"distinct_id":"u","time":%d,"$insert_id":"i%d"}}\n'
            % (1_767_225_600_000 + at % (EVENTS * 2 // 3), at % (EVENTS * 2 // 3))
            for at in range(EVENTS)
        )
    )
    arguments = ["import", str(file), "--tenant", "acme", "--create-tenant", "--router", cluster.address]
    running = Terminal(sys.executable, "-m", "evenshard.cli.main", *arguments, "--batch-rows", "1000")
    yield running
    running.close()


def test_a_bar_shows_share_counts_rate_and_the_time_that_is_left(terminal: Terminal) -> None:
    assert terminal.finish() == 0
    frames = [tuple(int(each.replace(",", "")) for each in found.groups()) for found in FRAME.finditer(terminal.shown)]
    print(frames[:: max(1, len(frames) // 20)])
    assert len(frames) >= 3
    for share, events, rate, duplicates, rejected, *left in frames:
        assert 0 <= events <= EVENTS
        # The share is of bytes read, which are ahead of events that are answered for by what is in flight.
        assert 100 * events // EVENTS - 1 <= share <= 100
        assert rate > 0 or events == 0
        assert (duplicates <= events, rejected) == (True, 0)
        assert left[0] == 0
    shares, counts = [frame[0] for frame in frames], [frame[1] for frame in frames]
    assert shares == sorted(shares)
    assert counts == sorted(counts)
    assert len(set(counts)) >= 3
    assert any(minutes or seconds for *_, minutes, seconds in frames)
    assert f"{EVENTS:,} events read: {EVENTS:,} accepted" in terminal.shown


def test_the_first_ctrl_c_says_what_it_does_and_how_to_go_on(terminal: Terminal, cluster: FakeCluster) -> None:
    terminal.wait_for(FRAME)
    terminal.type(b"\x03")
    terminal.wait_for(re.compile("finishing the batches in flight; Ctrl-C again to break off"))
    assert terminal.finish() == 1
    resume = re.search(r"stopped: .*to go on:\s+evenshard import \S+.* --from-line (\d+)", terminal.shown, re.DOTALL)
    assert resume is not None, terminal.shown
    sent = int(resume[1])
    assert 0 < sent < EVENTS
    assert f"{sent:,} events read: {sent:,} accepted" in terminal.shown
    assert len(cluster.stored) == min(sent, EVENTS * 2 // 3)
