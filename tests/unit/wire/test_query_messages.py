"""A segmentation is the same as a value, as protobuf and as JSON."""

import json

import pytest
from evenshard.api.v1 import query_pb2
from evenshard.client.requests import parsed_segmentation
from evenshard.queries.measures import MEASURES, OF_EVENTS
from evenshard.queries.model import segmentation_query
from evenshard.wire.query import segmentation_query_of, segmentation_request
from google.protobuf import json_format


@pytest.mark.parametrize("measure", MEASURES)
def test_a_segmentation_survives_protobuf_and_json(measure: str) -> None:
    query = segmentation_query(
        from_date="2026-01-01",
        to_date="2026-02-28",
        events=["a b", "ä"],
        unit="week",
        measure=measure,
        property="" if measure in OF_EVENTS else "size",
        where='size > 3 and not (`odd name` contains "x")',
        by=["$event", "plan"],
        limit=7,
        include_duplicates=measure == "total",
    )
    request = segmentation_request("acme", query)
    assert segmentation_query_of(request) == query
    document = json_format.MessageToJson(request, preserving_proto_field_name=True)
    assert parsed_segmentation(document) == request
    assert {"from_date", "to_date", "tenant"} <= set(json.loads(document))


def test_what_is_not_given_has_its_default() -> None:
    request = query_pb2.QuerySegmentationRequest(tenant="acme", from_date="2026-01-01", to_date="2026-01-02")
    query = segmentation_query_of(request)
    assert query == segmentation_query(from_date="2026-01-01", to_date="2026-01-02")
    assert segmentation_query_of(segmentation_request("acme", query)) == query
