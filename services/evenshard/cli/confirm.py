"""Asks before something that cannot be undone; scripts say ``--yes``."""

import sys
from typing import Annotated

import typer

from evenshard.cli.output import print_note
from evenshard.errors import EvenshardError

YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def check_can_ask(*, yes: bool) -> None:
    """Raises ``USAGE`` where nobody can be asked."""
    if not yes and not sys.stdin.isatty():
        raise EvenshardError("USAGE", "there is no terminal to ask on: nothing was changed", hint="to go on, say --yes")


def confirm(what: str, *, yes: bool) -> None:
    """Says what will be done and, unless ``yes``, asks. Raises ``INTERRUPTED`` if the answer is not yes."""
    if yes:
        return
    print_note(what)
    sys.stderr.write("Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise EvenshardError("INTERRUPTED", "not confirmed: nothing was changed", hint="answer y, or say --yes")
