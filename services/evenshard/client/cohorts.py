"""Cohorts saved and listed: the client's arguments as protobuf, what is saved as documents."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import orjson
import pyarrow as pa
from google.protobuf import json_format

from evenshard.api.v1 import query_pb2
from evenshard.client.answer import Answer
from evenshard.client.funnels import parsed_funnel
from evenshard.client.requests import names
from evenshard.client.steps import at_least_one, step_message
from evenshard.errors import EvenshardError, FieldFault
from evenshard.text.browse import cohort_blocks
from evenshard.text.table import Block


class CohortsResult(Answer, dict[str, Any]):
    """A tenant's cohorts: the JSON document of ``evenshard cohorts``, as a dict of this one key."""

    @property
    def cohorts(self) -> list[dict[str, Any]]:
        """``{"name", "version", "definition", "users"}``, by name."""
        found: list[dict[str, Any]] = self["cohorts"]
        return found

    def to_dict(self) -> dict[str, Any]:
        return dict(self)

    def to_arrow(self) -> pa.Table:
        """One row a cohort: ``name``, ``version``, ``users``, and its ``definition`` as JSON."""
        rows = [{**each, "definition": orjson.dumps(each["definition"]).decode()} for each in self.cohorts]
        fields = [("name", pa.utf8()), ("version", pa.int64()), ("users", pa.int64()), ("definition", pa.utf8())]
        return pa.Table.from_pylist(rows, schema=pa.schema(fields))

    def blocks(self) -> list[Block]:
        return cohort_blocks(self)


def save_cohort_request(
    tenant: str,
    name: str,
    from_date: str | date,
    to_date: str | date,
    *,
    did: str | Sequence[str],
    at_least: int | Sequence[int],
    did_not: str | Sequence[str],
    funnel: str | bytes | None,
    reached: int | None,
) -> query_pb2.SaveCohortRequest:
    """Raises ``QUERY_INVALID`` for steps and funnels that cannot be read."""
    steps = names(did)
    times = [at_least] * len(steps) if isinstance(at_least, int) else list(at_least)
    if len(times) != len(steps):
        problem = f"{len(times)} numbers for {len(steps)} steps"
        raise EvenshardError("QUERY_INVALID", f"at_least: {problem}", fields=(FieldFault("at_least", problem),))
    definition = query_pb2.CohortDefinition(from_date=str(from_date), to_date=str(to_date))
    for number, (step, least) in enumerate(zip(steps, times, strict=True)):
        message = step_message(step, f"did[{number}]")
        definition.did.add(step=message, at_least=at_least_one(f"at_least[{number}]", least))
    definition.did_not.extend(step_message(step, f"did_not[{at}]") for at, step in enumerate(names(did_not)))
    if (funnel is None) != (reached is None):
        problem = "a funnel and the step that is to be reached go together"
        raise EvenshardError("QUERY_INVALID", f"funnel: {problem}", fields=(FieldFault("funnel", problem),))
    if funnel is not None and reached is not None:
        definition.funnel.funnel.CopyFrom(parsed_funnel(funnel))
        definition.funnel.reached = reached
    return query_pb2.SaveCohortRequest(tenant=tenant, name=name, definition=definition)


def cohorts_result(cohorts: Sequence[query_pb2.Cohort]) -> CohortsResult:
    """The answer as it came, as values."""
    found = [
        {"name": each.name, "version": each.version, "definition": _definition(each.definition), "users": each.users}
        for each in cohorts
    ]
    return CohortsResult(cohorts=found)


def _definition(definition: query_pb2.CohortDefinition) -> Mapping[str, Any]:
    """As proto3 JSON with snake_case names; integers are numbers."""
    document = json_format.MessageToDict(definition, preserving_proto_field_name=True)
    for each in document.get("did", ()):
        each["at_least"] = int(each["at_least"])
    funnel = document.get("funnel", {}).get("funnel", {})
    if "window_ms" in funnel:
        funnel["window_ms"] = int(funnel["window_ms"])
    return document
