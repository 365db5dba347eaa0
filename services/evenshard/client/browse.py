"""Schema and timeline asked and answered: requests from whole documents, answers as values."""

from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
from google.protobuf import json_format

from evenshard.api.v1 import query_pb2
from evenshard.client.answer import Answer
from evenshard.client.results import breakdown_value, meta_document
from evenshard.errors import EvenshardError
from evenshard.text.browse import schema_blocks, timeline_blocks
from evenshard.text.table import Block


@dataclass(frozen=True, slots=True, repr=False)
class SchemaResult(Answer):
    """What there is to ask about."""

    events: list[dict[str, Any]]
    """``{"name", "display_name", "count", "hidden"}``, most frequent first."""
    properties: list[dict[str, Any]]
    """``{"name", "display_name", "types", "top_values"}``, by name; types of bool, number, string, json."""
    meta: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``evenshard query schema``."""
        return {"events": self.events, "properties": self.properties, "meta": self.meta}

    def to_arrow(self) -> pa.Table:
        """One row an event and one a property: ``kind`` (event or property), ``name``, ``display_name``, ``count`` of
        an event, ``types`` of a property and its ``top_values`` as JSON."""
        rows = [{"kind": "event", "count": each["count"], **_names(each)} for each in self.events]
        rows += [
            {
                "kind": "property",
                **_names(each),
                "types": each["types"],
                "top_values": [orjson.dumps(value).decode() for value in each["top_values"]],
            }
            for each in self.properties
        ]
        texts = pa.list_(pa.utf8())
        fields = {"kind": pa.utf8(), "name": pa.utf8(), "display_name": pa.utf8(), "count": pa.int64()}
        schema = pa.schema([*fields.items(), ("types", texts), ("top_values", texts)])
        return pa.Table.from_pylist(rows, schema=schema)

    def blocks(self) -> list[Block]:
        return schema_blocks(self.to_dict())


@dataclass(frozen=True, slots=True, repr=False)
class TimelineResult(Answer):
    """A page of one user's events, in order."""

    events: list[dict[str, Any]]
    """Rows as an export writes them."""
    next_page_token: str | None
    """Asks for the next page; None: this is the last one."""
    meta: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``evenshard query timeline``."""
        return {"events": self.events, "next_page_token": self.next_page_token, "meta": self.meta}

    def to_arrow(self) -> pa.Table:
        """One row an event: ``event``, ``time`` (ms, UTC), ``insert_id`` and ``properties`` as JSON."""
        rows = []
        for event in self.events:
            properties = dict(event["properties"])
            del properties["distinct_id"]
            time, insert_id = properties.pop("time"), properties.pop("$insert_id", None)
            text = orjson.dumps(properties).decode()
            rows.append({"event": event["event"], "time": time, "insert_id": insert_id, "properties": text})
        fields = [("event", pa.utf8()), ("time", pa.timestamp("ms", "UTC")), ("insert_id", pa.utf8())]
        return pa.Table.from_pylist(rows, schema=pa.schema([*fields, ("properties", pa.utf8())]))

    def blocks(self) -> list[Block]:
        return timeline_blocks(self.to_dict())


def parsed_schema(document: str | bytes) -> query_pb2.GetSchemaRequest:
    """Raises ``QUERY_INVALID`` for what is no such request."""
    try:
        return json_format.Parse(document, query_pb2.GetSchemaRequest())
    except json_format.ParseError as error:
        raise EvenshardError("QUERY_INVALID", f"no schema request: {error}") from error


def parsed_timeline(document: str | bytes) -> query_pb2.GetTimelineRequest:
    """Raises ``QUERY_INVALID`` for what is no such request."""
    try:
        return json_format.Parse(document, query_pb2.GetTimelineRequest())
    except json_format.ParseError as error:
        raise EvenshardError("QUERY_INVALID", f"no timeline request: {error}") from error


def schema_result(answer: query_pb2.GetSchemaResponse) -> SchemaResult:
    """The answer as it came, as values."""
    return SchemaResult(
        [{**_names(each), "count": each.count, "hidden": each.hidden} for each in answer.events],
        [
            {
                **_names(each),
                "types": list(each.types),
                "top_values": [breakdown_value(value) for value in each.top_values],
            }
            for each in answer.properties
        ],
        meta_document(answer.meta),
    )


def timeline_result(answer: query_pb2.GetTimelineResponse) -> TimelineResult:
    """The answer as it came, as values."""
    rows = [orjson.loads(row) for row in answer.events]
    return TimelineResult(rows, answer.next_page_token or None, meta_document(answer.meta))


def _names(each: Any) -> dict[str, str]:
    if isinstance(each, dict):
        return {"name": each["name"], "display_name": each["display_name"]}
    return {"name": each.name, "display_name": each.display_name}
