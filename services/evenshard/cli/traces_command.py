"""``evenshard traces``: the slowest traces of the cluster, or one of them, as waterfalls; no collector is needed."""

from collections import deque
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from evenshard.cli.output import ROUTER_DEFAULT, JsonOption, RouterOption, finish, print_blocks
from evenshard.errors import EvenshardError, ExitStatus

LINE_BYTES_MAX: Final = 1 << 20
"""Of a trace file: a longer line is no span of ours."""
SPANS_MAX: Final = 1_000_000
"""Of a trace file that are looked at: the last ones."""


def command(
    trace_id: Annotated[
        str | None, typer.Argument(help="This one, as answers, errors and log lines name it; none: the slowest.")
    ] = None,
    slowest: Annotated[int, typer.Option(metavar="N", min=1, max=1_000, help="So many of the slowest.")] = 10,
    file: Annotated[
        Path | None, typer.Option(metavar="F", help="Read the trace file F (up --trace-file) and ask nobody.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="The newest that failed instead of the slowest.")] = False,
    background: Annotated[
        bool, typer.Option("--background", help="Also what nobody waited for: syncs, compactions, counts.")
    ] = False,
    linked: Annotated[
        bool, typer.Option("--linked", help="With --json: also the syncs and counts that spans are linked to.")
    ] = False,
    router: RouterOption = ROUTER_DEFAULT,
    json_output: JsonOption = False,
) -> None:
    """Shows traces of the last hour: every process remembers its part of the slowest and of the newest that failed.

    Exit status 1 where a process did not answer, or a line of the file is no span; 4 where TRACE_ID is not known."""
    from evenshard.text.traces import trace_blocks
    from evenshard.wire.traces import trace_id_of

    wanted = None if trace_id is None else trace_id_of(trace_id)
    if file is not None:
        document = _of_file(file, wanted, slowest, failed=failed, background=background)
    else:
        from evenshard.client import connect

        with connect(router) as client:
            answer = client.traces(wanted, limit=slowest, failed=failed, background=background)
        document = {**answer, "lines_unreadable": 0}
    if wanted is not None and not document["traces"]:
        raise EvenshardError(
            "TRACE_NOT_FOUND", f"nobody remembers trace {wanted}", details={"missing": ",".join(document["missing"])}
        )
    print_blocks(_shown(document, linked=linked), trace_blocks(document), as_json=json_output)
    if document["missing"] or document["lines_unreadable"]:
        finish(ExitStatus.PARTIAL)


def _shown(document: dict[str, Any], *, linked: bool) -> dict[str, Any]:
    """As the contract writes it; what is missing is said where something is."""
    kept = {name: document[name] for name in ("missing", "lines_unreadable") if document[name]}
    traces = [
        {name: value for name, value in trace.items() if linked or name != "linked"} for trace in document["traces"]
    ]
    return {"traces": traces, **kept}


def _of_file(path: Path, trace_id: str | None, limit: int, *, failed: bool, background: bool) -> dict[str, Any]:
    """The same document, of what the file has."""
    from evenshard.wire.traces import chosen_of, trace_document

    spans, unreadable = _read(path)
    trees = chosen_of(spans, trace_id, limit, failed=failed, background=background)
    return {"traces": [trace_document(tree) for tree in trees], "missing": [], "lines_unreadable": unreadable}


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The spans of a file, and how many lines are none. Raises ``USAGE``."""
    import orjson

    from evenshard.wire.traces import is_span_document

    spans: deque[dict[str, Any]] = deque(maxlen=SPANS_MAX)
    unreadable = 0
    try:
        with path.open("rb") as lines:
            for line in lines:
                try:
                    span = orjson.loads(line) if len(line) <= LINE_BYTES_MAX else None
                except orjson.JSONDecodeError:
                    span = None
                if isinstance(span, dict) and is_span_document(span):
                    spans.append(span)
                else:
                    unreadable += 1
    except OSError as error:
        raise EvenshardError("USAGE", f"--file {path}: {error.strerror}", hint="name a file of spans") from error
    return list(spans), unreadable
