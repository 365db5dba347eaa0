"""``evenshard export``: rows to stdout or a file, in order, resumable by cursor."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import typer

from evenshard.cli.output import GATEWAY_DEFAULT, GatewayOption, JsonOption, finish, print_note, print_result
from evenshard.errors import EvenshardError, ExitStatus


def command(
    tenant: Annotated[str, typer.Option(help="Whose events.")],
    start: Annotated[str, typer.Option(metavar="TIME", help="RFC 3339 or ms.")],
    end: Annotated[str, typer.Option(metavar="TIME", help="Not included.")],
    event: Annotated[list[str] | None, typer.Option(help="Any of these; none: any event.")] = None,
    out_format: Annotated[
        Literal["ndjson", "arrow"], typer.Option("--format", help="Arrow: one IPC stream.")
    ] = "ndjson",
    include_duplicates: Annotated[bool, typer.Option("--include-duplicates", help="Copies too, marked.")] = False,
    restore_hot: Annotated[
        bool, typer.Option("--restore-hot", help="Hot events as they came, not as $hotshard_events.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="F", help="Write rows there; stdout tells how many.")] = None,
    cursor: Annotated[
        str, typer.Option(metavar="C", help="Go on behind a former export; --out F is then appended to.")
    ] = "",
    gateway: GatewayOption = GATEWAY_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Writes a tenant's rows from --start to before --end, ordered by time, distinct_id, event and insert_id."""
    from evenshard.client import connect

    if out is None and out_format == "arrow" and (json_output or sys.stdout.isatty()):
        raise EvenshardError("USAGE", "Arrow is not text: give --out F, or redirect stdout and leave out --json")
    with connect(gateway=gateway) as client:
        export = client.export(
            start,
            end,
            event,
            format=out_format,
            include_duplicates=include_duplicates,
            restore_hot=restore_hot,
            cursor=cursor,
            tenant=tenant,
        )
        try:
            if out is None:
                _write(export, sys.stdout.buffer)
                print_note(_summary(export.to_dict()))
                _warn(export.warnings)
                return
            with _open(out, append=bool(cursor), is_arrow=out_format == "arrow") as file:
                before = file.tell()
                _write(export, file)
                size_bytes = file.tell() - before
        except EvenshardError as error:
            error.details = {**error.details, "rows": str(export.rows), "cursor": export.cursor}
            raise
        except BrokenPipeError:  # whoever read stdout has seen enough
            _drop_stdout()
            finish(ExitStatus.PARTIAL)
        except OSError as error:
            if out is None:
                _drop_stdout()
            raise EvenshardError(
                "USAGE",
                f"{out or 'stdout'}: {error.strerror or error}",
                hint="rows were written up to some point before",
            ) from error
    print_result({**export.to_dict(), "bytes": size_bytes}, as_json=json_output, human=_summary)
    _warn(export.warnings)


def _drop_stdout() -> None:
    """What is still buffered for a stdout that takes nothing more is dropped, lest Python fail at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(export: Any, file: IO[bytes]) -> None:
    if export.format == "arrow":
        import pyarrow as pa

        writer = None
        for batch in export.batches():
            writer = writer or pa.ipc.new_stream(file, batch.schema)
            writer.write_batch(batch)
        if writer is not None:
            writer.close()
    else:
        for payload in export.payloads():
            file.write(payload)
    file.flush()


def _open(path: Path, *, append: bool, is_arrow: bool) -> IO[bytes]:
    if append and is_arrow and path.exists():
        raise EvenshardError("USAGE", f"{path} exists: Arrow cannot be appended to, choose another file")
    try:
        return path.open("ab" if append else "wb")
    except OSError as error:
        raise EvenshardError("USAGE", f"{path}: {error.strerror}", hint="choose a file that can be written") from error


def _summary(document: Mapping[str, Any]) -> str:
    end = "complete" if document["complete"] else "NOT COMPLETE"
    return f"{document['rows']:,} rows, {document['bytes']:,} bytes, {end}; cursor {document['cursor'] or '-'}"


def _warn(warnings: list[dict[str, Any]]) -> None:
    for each in warnings:
        print_note(f"warning {each['code']}: {each['message']} ({each['count']:,})")
