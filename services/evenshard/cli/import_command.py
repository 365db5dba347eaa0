"""``evenshard import``: a file of events, with progress on stderr and the account of it on stdout."""

import difflib
import os
import shlex
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from evenshard.cli.import_report import import_report
from evenshard.cli.output import ROUTER_DEFAULT, JsonOption, RouterOption, finish, print_error, print_note, print_result
from evenshard.errors import EvenshardError, ExitStatus

if TYPE_CHECKING:
    from evenshard.client import ImportResult, Progress

_FORMATS_HINT = "give NDJSON (one JSON object a line), Arrow or Parquet, perhaps as .gz or .zst; - is standard input"


def command(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="NDJSON, Arrow or Parquet; .gz and .zst are read.")],
    tenant: Annotated[str | None, typer.Option(help="Whose events; absent: each line names its own.")] = None,
    create_tenant: Annotated[bool, typer.Option("--create-tenant", help="Make tenants that do not exist.")] = False,
    file_format: Annotated[
        Literal["auto", "ndjson", "arrow", "parquet"], typer.Option("--format", help="What FILE holds.")
    ] = "auto",
    strict: Annotated[
        bool, typer.Option("--strict", help="Reject events without insert_id or with a placeholder distinct_id.")
    ] = False,
    batch_rows: Annotated[
        int | None, typer.Option(min=1, help="Events in one call; default 10,000 lines or 50,000 rows.")
    ] = None,
    in_flight: Annotated[int, typer.Option(min=1, max=64, help="Calls at once.")] = 4,
    errors_to: Annotated[
        str | None, typer.Option(metavar="F", help="Write each rejected event there, with what was wrong; NDJSON.")
    ] = None,
    from_line: Annotated[int, typer.Option(min=0, metavar="N", help="Begin at this line (or row), from 0.")] = 0,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Imports a file of events; exit status 1 if some were rejected. Sent twice, an event with insert_id is one."""
    from evenshard.cli.import_progress import import_progress
    from evenshard.client import connect

    flags = {
        "--tenant": tenant, "--create-tenant": create_tenant, "--format": "" if file_format == "auto" else file_format,
        "--strict": strict, "--batch-rows": batch_rows, "--in-flight": "" if in_flight == 4 else in_flight,
        "--errors-to": errors_to, "--router": "" if router == ROUTER_DEFAULT else router, "--json": json_output,
    }  # fmt: skip
    place = _Place(file, flags, from_line)
    interrupt = _Interrupt()
    with connect(router) as client, interrupt:
        try:
            with import_progress() as show:

                def on_progress(progress: "Progress", size_bytes: int | None) -> None:
                    place.line = max(place.line, progress.answered_to)
                    show(progress, size_bytes)

                result = client.import_file(
                    file,
                    tenant=tenant,
                    file_format=file_format,
                    strict=strict,
                    batch_rows=batch_rows,
                    in_flight=in_flight,
                    create_tenant=create_tenant,
                    from_line=from_line,
                    errors_to=errors_to,
                    on_progress=on_progress,
                    stopping=interrupt.is_set,
                )
        except OSError as error:
            raise _cannot_read(file, error) from error
        except KeyboardInterrupt:
            _break_off(place, as_json=json_output)
        except EvenshardError as error:
            if place.line > from_line:
                error.hint = f"{error.hint}; to go on: {place.command()}".removeprefix("; ")
            raise
    _tell(result, place, interrupted=interrupt.is_set(), as_json=json_output)


@dataclass(slots=True)
class _Place:
    """How far an import is, and the command that goes on from there."""

    file: str
    flags: Mapping[str, Any]
    line: int
    """Every event before it is answered for."""

    def command(self) -> str:
        words = ["evenshard", "import", self.file]
        for flag, value in self.flags.items():
            if value is True:
                words.append(flag)
            elif value:
                words += [flag, str(value)]
        return shlex.join([*words, "--from-line", str(self.line)])


class _Interrupt:
    """The first Ctrl-C asks to stop after the batches in flight, the second interrupts."""

    def __init__(self) -> None:
        self._set = False
        self._before: Any = None

    def is_set(self) -> bool:
        return self._set

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._handle)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, *_: object) -> None:
        if self._set:
            raise KeyboardInterrupt
        self._set = True
        sys.stderr.write("\nfinishing the batches in flight; Ctrl-C again to break off\n")


def _tell(result: "ImportResult", place: _Place, *, interrupted: bool, as_json: bool) -> None:
    document = result.to_dict()
    if interrupted:
        document |= {"interrupted": True, "resume": place.command()}
    print_result(document, as_json=as_json, human=import_report)
    if interrupted:
        print_note(
            "stopped: what was read is answered for above, the rest was not sent; to go on:\n  " + place.command()
        )
    elif not result.events_read:
        print_note(f"{place.file} has no events{f' from line {place.line} on' if place.line else ': it is empty'}")
    elif result.errors_by_code.get("INVALID_JSON") == result.events_read:
        print_note(f"no line of {place.file} is a JSON object: {_FORMATS_HINT}")
    if result.rejected or interrupted:
        finish(ExitStatus.PARTIAL)


def _break_off(place: _Place, *, as_json: bool) -> NoReturn:
    """Ends the process at once: a thread may wait for input that does not come, and would be waited for."""
    error = EvenshardError(
        "INTERRUPTED",
        f"broken off by Ctrl-C: every event before line {place.line} is answered for",
        hint=f"to go on: {place.command()}",
        in_doubt=True,
        details={"answered_to": str(place.line)},
    )
    print_error(error, as_json=as_json)
    os._exit(int(error.exit_status))


def _cannot_read(file: str, error: OSError) -> EvenshardError:
    """Says what to give instead."""
    path = Path(file)
    message = f"{file}: {error.strerror or error}"
    if isinstance(error, IsADirectoryError):
        names = sorted(each.name for each in path.iterdir() if each.is_file()) if os.access(path, os.R_OK) else []
        as_ = f", as {path / names[0]}" if names else ""
        return EvenshardError("USAGE", f"{file} is a directory", hint=f"give one file of it{as_}")
    if isinstance(error, FileNotFoundError) and path.parent.is_dir() and os.access(path.parent, os.R_OK):
        near = difflib.get_close_matches(path.name, [each.name for each in path.parent.iterdir()], n=3)
        if near:
            meant = " or ".join(str(path.parent / name) for name in near)
            return EvenshardError("USAGE", message, hint=f"did you mean {meant}?")
    return EvenshardError("USAGE", message, hint=_FORMATS_HINT)
