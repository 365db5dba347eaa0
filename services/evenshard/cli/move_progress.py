"""Waits for a move, and shows how far it is."""

import shlex
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from evenshard.cli.operation_shown import shown_operation
from evenshard.cli.output import finish, print_note, print_result
from evenshard.errors import EvenshardError, ExitStatus
from evenshard.text.moves import is_settled, progress_line

LOOK_EVERY_S: Final = 0.5
LINE_EVERY_S: Final = 5.0
"""Where there is no terminal."""


def moved(client: Any, document: Mapping[str, Any], timeout_s: float, *, json_output: bool, live: bool) -> None:
    """Prints the operation once nothing more happens by itself; the exit status says whether it came to what it is
    for."""
    name = document["operation"]
    try:
        found = _followed(client, name, time.monotonic() + timeout_s, live=live)
    except KeyboardInterrupt as interrupt:
        go_on = f"it goes on by itself; to wait again: {shlex.join(['evenshard', 'admin', 'wait', name])}"
        raise EvenshardError(
            "INTERRUPTED", "waits no longer; nothing was cancelled", hint=go_on, details={"operation": name}
        ) from interrupt
    if not is_settled(found):
        raise EvenshardError(
            "DEADLINE_EXCEEDED",
            f"operation {name} is {found['state']} after {timeout_s:g} s: {progress_line(found)}",
            hint=f"it goes on by itself; to wait again: {shlex.join(['evenshard', 'admin', 'wait', name])}",
            details={"operation": name, "state": found["state"]},
        )
    print_result(found, as_json=json_output, human=_ended)
    if found["state"] not in ("switched", "complete"):
        finish(ExitStatus.PARTIAL)


def _followed(client: Any, name: str, until_s: float, *, live: bool) -> dict[str, Any]:
    said_s = time.monotonic()
    while True:
        found: dict[str, Any] = client.operation(name)
        over = is_settled(found) or time.monotonic() >= until_s
        if live:
            sys.stderr.write(f"\r\x1b[K{progress_line(found)}" + ("\n" if over else ""))
            sys.stderr.flush()
        elif not over and time.monotonic() - said_s >= LINE_EVERY_S:
            print_note(progress_line(found))
            said_s = time.monotonic()
        if over:
            return found
        time.sleep(LOOK_EVERY_S)


def _ended(document: Mapping[str, Any]) -> str:
    if document["state"] != "switched":
        return shown_operation(document)
    name = document["operation"]
    return (
        f"{shown_operation(document)}\n"
        f"  to end it, so that its sources forget: {shlex.join(['evenshard', 'admin', 'complete', name])}\n"
        f"  to take it back: {shlex.join(['evenshard', 'admin', 'rollback', name])}"
    )
