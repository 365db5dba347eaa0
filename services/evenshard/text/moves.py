"""Plans that move slots, for people."""

from collections.abc import Mapping
from typing import Any, Final

from evenshard.text.table import Bar, Block, Column, Lines, Table

MOVES_SHOWN_MAX: Final = 20
ENDED_STATES: Final = frozenset(["complete", "cancelled", "rolled_back", "failed"])


def is_settled(document: Mapping[str, Any]) -> bool:
    """Whether nothing more happens to an operation by itself: it has ended, or is a move that has switched, and waits
    to be completed, or rolled back."""
    return document["state"] in ENDED_STATES or (document["state"] == "switched" and not document["asked"])


def plan_blocks(document: Mapping[str, Any]) -> list[Block]:
    """What would be moved, then what shards hold before and after, as bars."""
    moves = document["moves"]
    if not moves:
        return [Lines(["nothing is to be moved"], "quiet")]
    rows = [
        (
            each["tenant"],
            f"{each['slots'][0]}-{each['slots'][1]}{' (overflow)' if each['overflow'] else ''}",
            each["from"],
            each["to"],
            each["rows"],
            round(each["bytes"] / (1 << 20), 1),
            each["reason"],
        )
        for each in moves[:MOVES_SHOWN_MAX]
    ]
    more = len(moves) - MOVES_SHOWN_MAX
    notes = [f"and {more:,} more"] if more > 0 else []
    notes.append(_expected(document))
    columns = [Column("tenant"), Column("slots", right=False), Column("from"), Column("to"), Column("rows"),
               Column("MiB"), Column("why")]  # fmt: skip
    return [Table(columns, rows, notes=notes), _loads(document)]


def _expected(document: Mapping[str, Any]) -> str:
    skews = [f"{value:.2f}" for name in ("skew_before", "skew_after") if (value := document[name]) is not None]
    skew = f"; skew {' → '.join(skews)}" if len(skews) == 2 else ""
    return (
        f"about {document['expected_seconds']:.1f} s, writes of the slots held for about"
        f" {document['expected_hold_ms']:.0f} ms{skew}; plan {document['plan_id']} at revision"
        f" {document['directory_revision']}"
    )


def _loads(document: Mapping[str, Any]) -> Block:
    loads = document["loads"]
    largest = max((max(each["rows_before"], each["rows_after"]) for each in loads), default=0) or 1
    rows = [
        (
            each["shard"],
            each["rows_before"],
            Bar(each["rows_before"] / largest),
            each["rows_after"],
            Bar(each["rows_after"] / largest),
        )
        for each in loads
    ]
    columns = [Column("shard"), Column("rows now"), Column(""), Column("rows then"), Column("")]
    return Table(columns, rows)


def progress_line(document: Mapping[str, Any]) -> str:
    """How far an operation that moves slots is, in one line."""
    told = [f"{document['operation']}: {document['state']}{', paused' if document['paused'] else ''}"]
    if document["bytes_total"]:
        told.append(f"{document['bytes_done'] / (1 << 20):,.1f} of {document['bytes_total'] / (1 << 20):,.1f} MiB")
    told.append(f"{document['rows_done']:,} of {document['rows_total']:,} rows")
    if document["lag_rows"]:
        told.append(f"{document['lag_rows']:,} rows behind")
    if document["eta_seconds"] is not None:
        told.append(f"{document['eta_seconds']:.0f} s left")
    if document["fenced_ms"] is not None:
        told.append(f"writes were held for {document['fenced_ms']:.0f} ms")
    if document["error"]:
        told.append(document["error"])
    return ", ".join(told)
