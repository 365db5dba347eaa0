"""Cohorts: protobuf ↔ ours, and the JSON text in which a definition is saved."""

import json

from google.protobuf import json_format

from evenshard.api.v1 import query_pb2
from evenshard.directory.cohort import CohortRecord
from evenshard.errors import EvenshardError
from evenshard.queries.cohort_model import CohortQuery, Did, cohort_query
from evenshard.queries.funnel_model import FunnelQuery
from evenshard.wire.funnel import funnel_query_of
from evenshard.wire.retention import step_of

DEFINITION_BYTES_MAX = 64 << 10
"""A value of the directory is far below etcd's bound."""


def definition_text(definition: query_pb2.CohortDefinition) -> str:
    """As it is saved. Raises ``QUERY_INVALID`` for one too long."""
    document = json_format.MessageToDict(definition, preserving_proto_field_name=True)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > DEFINITION_BYTES_MAX:
        raise EvenshardError("QUERY_INVALID", f"definition: more than {DEFINITION_BYTES_MAX} bytes")
    return text


def definition_message(text: str) -> query_pb2.CohortDefinition:
    """What ``definition_text`` wrote; fields of a later version are left out."""
    return json_format.Parse(text, query_pb2.CohortDefinition(), ignore_unknown_fields=True)


def query_of_text(text: str) -> CohortQuery:
    """Of a saved definition. Raises ``QUERY_INVALID`` or ``RANGE_INVALID``, naming the field."""
    return cohort_query_of(definition_message(text))


def cohort_query_of(definition: query_pb2.CohortDefinition) -> CohortQuery:
    """Raises ``QUERY_INVALID`` or ``RANGE_INVALID``, naming the field."""
    return cohort_query(
        from_date=definition.from_date,
        to_date=definition.to_date,
        did=[Did(step_of(each.step), each.at_least) for each in definition.did],
        did_not=[step_of(step) for step in definition.did_not],
        funnel=_funnel(definition) if definition.HasField("funnel") else None,
        reached=definition.funnel.reached,
    )


def _funnel(definition: query_pb2.CohortDefinition) -> FunnelQuery:
    """Its dates are the cohort's where they are empty."""
    request = query_pb2.QueryFunnelRequest()
    request.CopyFrom(definition.funnel.funnel)
    request.from_date = request.from_date or definition.from_date
    request.to_date = request.to_date or definition.to_date
    return funnel_query_of(request)


def cohort_message(record: CohortRecord, users: int) -> query_pb2.Cohort:
    return query_pb2.Cohort(
        name=record.name, version=record.version, definition=definition_message(record.definition), users=users
    )
