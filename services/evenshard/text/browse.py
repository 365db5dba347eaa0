"""A schema, a timeline and cohorts for people."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from evenshard.text.cells import cut, printable, value_text
from evenshard.text.moment import moment
from evenshard.text.table import Block, Column, Lines, Table, table_of

_VALUES_WIDTH_MAX: Final = 100
"""Characters of values a line."""


def schema_blocks(document: Mapping[str, Any]) -> list[Block]:
    """The document of ``query schema``."""
    events = [
        [each["name"], each["count"], each["display_name"] if each["display_name"] != each["name"] else ""]
        for each in document["events"]
    ]
    properties = [
        [each["name"], ", ".join(each["types"]), _cut(", ".join(map(value_text, each["top_values"])))]
        for each in document["properties"]
    ]
    return [
        Table([Column("event"), Column("count", True), Column(spare=1)], events),
        table_of(["property", "types", "most frequent values"], properties),
    ]


def timeline_blocks(document: Mapping[str, Any]) -> list[Block]:
    """The document of ``query timeline``."""
    rows = []
    for event in document["events"]:
        properties = {
            name: value
            for name, value in event["properties"].items()
            if name not in ("distinct_id", "time", "$insert_id")
        }
        texts = [f"{name}={value_text(value)}" for name, value in properties.items()]
        mark = "duplicate" if event.get("duplicate") else ""
        rows.append([moment(event["properties"]["time"]), event["event"], _cut("  ".join(texts)), mark])
    blocks: list[Block] = [table_of(["time (UTC)", "event", "properties", ""], rows)]
    if document["next_page_token"]:
        blocks.append(Lines([f"there are more, from page token {document['next_page_token']}"]))
    return blocks


def cohort_blocks(document: Mapping[str, Any]) -> list[Block]:
    """The document of ``cohorts``."""
    rows = [
        [each["name"], each["version"], each["users"], _meaning(each["definition"])] for each in document["cohorts"]
    ]
    return [table_of(["name", "version", "users", "who"], rows)]


def _meaning(definition: Mapping[str, Any]) -> str:
    """In words."""
    parts = [
        f"did {_step(each.get('step', {}))}" + (f" ≥ {each['at_least']} times" if each["at_least"] > 1 else "")
        for each in definition.get("did", ())
    ]
    parts += [f"did not {_step(each)}" for each in definition.get("did_not", ())]
    if "funnel" in definition:
        funnel = definition["funnel"]
        steps = " → ".join(_step(each) for each in funnel["funnel"].get("steps", ()))
        parts.append(f"reached step {funnel['reached']} of {steps}")
    return f"{definition['from_date']} to {definition['to_date']}: {' and '.join(parts)}"


def _step(step: Mapping[str, Any]) -> str:
    where = step.get("where")
    events: Sequence[str] = step.get("events", ())
    return ("|".join(events) or "*") + (f" where {where}" if where else "")


def _cut(text: str) -> str:
    return cut(printable(text), _VALUES_WIDTH_MAX)
