"""Ctrl-C in a command that waits: a sentence, a document with --json, and an exit status of ours."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

COMMANDS = [
    ["query", "segmentation", "--tenant", "t", "--from", "2026-01-01", "--to", "2026-01-01"],
    ["export", "--tenant", "t", "--start", "0", "--end", "1"],
    ["admin", "tenants"],
    ["status"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("as_json", [True, False])
def test_ctrl_c_is_answered_by_a_sentence_and_status_1(command: list[str], as_json: bool) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        silent.settimeout(30)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        waiting = subprocess.Popen(
            [sys.executable, "-m", "evenshard.cli.main", *command, *(["--json"] if as_json else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"EVENSHARD_ROUTER": address, "EVENSHARD_GATEWAY": address},
        )
        silent.accept()  # it has asked, and waits for an answer
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 1, (out, err)
    assert "Traceback" not in err.decode()
    if as_json:
        error = json.loads(out)["error"]
        assert (error["code"], error["retryable"], bool(error["message"])) == ("INTERRUPTED", True, True)
    else:
        assert (out, err.decode().splitlines()[0]) == (b"", "error INTERRUPTED: broken off by Ctrl-C")
