"""What the commands of ``evenshard query`` share: flags' names, requests from files, the account of an answer."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from evenshard.cli.output import finish, print_blocks
from evenshard.errors import EvenshardError, ExitStatus
from evenshard.text.account import account
from evenshard.text.table import Block

Result = TypeVar("Result")


def flag(name: str) -> str:
    """The flag of an argument."""
    return "--" + name.removesuffix("_date").rstrip("_").replace("_", "-")


def read_request(path: str) -> bytes:
    """The bytes of a file, or of stdin for ``-``. Raises ``USAGE``."""
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise EvenshardError("USAGE", f"{path}: {error.strerror}", hint="give a file, or -") from error


def answer_of(
    flags: Mapping[str, Any],
    query: str | None,
    required: Sequence[str],
    by_flags: Callable[[dict[str, Any]], Result],
    by_document: Callable[[bytes], Result],
) -> Result:
    """Asks with the flags that were given (``by_flags``), or with the whole request of ``--query`` (``by_document``).

    A flag that was not given is None, False or an empty list. Raises ``USAGE`` for both at once, or for neither.
    """
    given = {name: value for name, value in flags.items() if value not in (None, False, [])}
    if query is not None:
        if given:
            raise EvenshardError("USAGE", f"--query holds the whole request: leave out {flag(min(given))}")
        return by_document(read_request(query))
    missing = [name for name in required if name not in given]
    if missing:
        raise EvenshardError("USAGE", f"{', '.join(map(flag, missing))} must be given, or --query F.json")
    return by_flags(given)


def end_with(result: Any, blocks: Iterable[Block], *, as_json: bool) -> None:
    """Prints an answer and its account, and ends with exit status 1 where it is not whole."""
    print_blocks(result.to_dict(), [*blocks, *account(result.meta)], as_json=as_json)
    if not result.meta["complete"]:
        finish(ExitStatus.PARTIAL)
