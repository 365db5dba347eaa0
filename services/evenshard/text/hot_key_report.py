"""The report of hot keys for people: blocks for a terminal, a page for browsers, a subject for a mail."""

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from evenshard.text.cells import UNDEFINED, percent, printable, value_text
from evenshard.text.html import html
from evenshard.text.table import Block, Lines, table_of

NOTHING: Final = "no key became hot"


def hot_key_report_blocks(document: Mapping[str, Any]) -> list[Block]:
    """The document of ``report hot-keys``: all keys, then what is known of each."""
    keys = document["hot_keys"]
    blocks: list[Block] = [Lines([title_of(document)])]
    if not keys:
        return blocks
    rows = [
        (
            key["distinct_id"],
            key["date"],
            key["mode"],
            UNDEFINED if key["threshold"] is None else key["threshold"],
            key["kept"],
            key["rewritten"],
            ", ".join(f"{name} {count:,}" for name, count in list(key["events"].items())[:3]),
        )
        for key in keys
    ]
    titles = ("distinct_id", "date", "mode", "threshold", "kept", "rewritten", "events")
    blocks.append(table_of(titles, rows))
    if document["more_hot_keys"]:
        blocks.append(Lines([f"… and {document['more_hot_keys']:,} more"]))
    return [*blocks, *map(_of_key, keys)]


def _of_key(key: Mapping[str, Any]) -> Lines:
    """Lines, as pages show few tables."""
    stands_out = [
        f"  stands out: {each['property']} = {value_text(each['value'])}, {percent(each['share'])} of its events, "
        f"{percent(each['share_elsewhere'])} of all others"
        for each in key["stands_out"]
    ]
    return Lines([f"{key['distinct_id']} on {key['date']}: {key['likely_cause']}", *stands_out, f"  {key['advice']}"])


def title_of(document: Mapping[str, Any]) -> str:
    """A line that says it all; of mails the subject."""
    keys = len(document["hot_keys"]) + document["more_hot_keys"]
    what = f"{keys:,} hot {'key' if keys == 1 else 'keys'}" if keys else NOTHING
    return printable(f"evenshard: {what} of tenant {document['tenant']}, {document['from']} to {document['to']} (UTC)")


def page(document: Mapping[str, Any]) -> str:
    """A whole HTML page: everything that came from events is escaped; no scripts, nothing is loaded from elsewhere."""
    title = escape(title_of(document))
    body = html(hot_key_report_blocks(document))
    style = "body{font-family:sans-serif;margin:2em}td,th{padding:.2em .8em}table{margin:1em 0}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style></head><body>{body}</body></html>\n"
    )
