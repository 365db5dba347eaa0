"""How every command answers: the result on stdout, for people or as exactly one JSON document; errors the same way.

A command builds its document, calls ``print_result`` and ends with ``finish(status)`` where the exit status is not 0.
It lets ``EvenshardError`` through: ``main`` prints it and exits with its status.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NoReturn

import typer

from evenshard.errors import EvenshardError, ExitStatus
from evenshard.text.ascii import for_encoding
from evenshard.text.look import Look
from evenshard.text.paint import paint
from evenshard.text.table import Block
from evenshard.wire.error_document import error_document

JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document.")]
RouterOption = Annotated[
    str, typer.Option("--router", envvar="EVENSHARD_ROUTER", help="Address of a router, host:port.")
]
GatewayOption = Annotated[
    str, typer.Option("--gateway", envvar="EVENSHARD_GATEWAY", help="Address of a gateway, host:port.")
]
ROUTER_DEFAULT = "127.0.0.1:7400"
GATEWAY_DEFAULT = "127.0.0.1:7401"


def print_result(document: Mapping[str, Any], *, as_json: bool, human: Callable[[Mapping[str, Any]], str]) -> None:
    """Prints ``document`` as one line of JSON, or what ``human`` makes of it."""
    print_line(_json(document) if as_json else human(document))


def print_blocks(document: Mapping[str, Any], blocks: Iterable[Block], *, as_json: bool) -> None:
    """Prints ``document`` as one line of JSON, or the blocks as the terminal is wide and colourful."""

    def human(_: Mapping[str, Any]) -> str:
        return for_encoding(paint(blocks, terminal_look(os.environ)), sys.stdout.encoding or "utf-8")

    print_result(document, as_json=as_json, human=human)


def terminal_look(environment: Mapping[str, str]) -> Look:
    """A terminal's width and colours; a file or a pipe gets neither, unless ``COLUMNS`` says how wide. ``NO_COLOR``, if
    it is not empty, and ``TERM=dumb`` mean no colours."""
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal or environment.get("COLUMNS", "").isdecimal() else None
    plain = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return Look(width=width, color=is_terminal and not plain)


def print_line(text: str) -> None:
    """A line on stdout, there at once. What the terminal's encoding cannot show is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def _json(document: Mapping[str, Any]) -> str:
    """Characters stand as they are where stdout can show them all: what ``print_line`` makes of others is no JSON."""
    text = json.dumps(document, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(document)
    return text


def print_note(text: str) -> None:
    """A line for people, on stderr."""
    sys.stderr.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
    sys.stderr.flush()


def finish(status: ExitStatus) -> NoReturn:
    """Ends the command with an exit status."""
    raise typer.Exit(int(status))


def print_error(error: EvenshardError, *, as_json: bool) -> None:
    """One document on stdout, or a few lines for people on stderr."""
    if as_json:
        print_line(_json(error_document(error)))
        return
    print_note(f"error {error.code}: {error.message}")
    for fault in error.fields:
        if fault.description not in error.message:  # mostly it is what the message says
            print_note(f"  {fault.field}: {fault.description}")
    if error.in_doubt and "operation" not in error.details:  # an operation goes on by itself
        print_note("  some of it may have been stored; the same call again settles it")
    if error.hint:
        print_note(f"  {error.hint}")
    if error.trace_id:
        print_note(f"  trace {error.trace_id}")
