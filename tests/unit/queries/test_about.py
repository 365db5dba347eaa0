"""What scans are about, read from scans as the planner writes them."""

import pytest
from evenshard.queries.about import About, about
from evenshard.queries.browse_plan import SchemaScan, TimelineScan
from evenshard.queries.cohort_plan import CohortScans, DidScan, ReachedScan, with_cohorts
from evenshard.queries.flows_plan import FlowsScan
from evenshard.queries.plan import FunnelScan, SegmentationScan
from evenshard.queries.retention_plan import RetentionScan
from evenshard.queries.steps import Step

ANY = Step(())
SEGMENTATION = SegmentationScan((0, 1), (0,), 1, ("view", "buy"), "", (), "total", 60, True, None)
FUNNEL = FunnelScan((0, 1), 9, (Step(("view",)), ANY, Step(("buy", "view"))), "", (), 0, True)
TIMELINE = TimelineScan((0, 1), "ann", "", None, 0, 10, True)
FLOWS = FlowsScan(0, 1, (0, 1), Step(("start",)), False, 3, 9, False, "", True)
DID = DidScan((0, 1), ((Step(("view",)), 2),), (Step(("buy",)),), True)
RETENTION = RetentionScan(
    0, 1, (0, 1), (0,), 1, 1, (), (), (), 1, False, False, Step(("born",)), Step(("back",)), "", (), True
)


@pytest.mark.parametrize(
    ("scan", "found"),
    [
        (SEGMENTATION.to_json(), About("segmentation", ("view", "buy"), "")),
        (FUNNEL.to_json(), About("funnel", ("view", "buy"), "")),
        (RETENTION.to_json(), About("retention", ("born", "back"), "")),
        (FLOWS.to_json(), About("flows", ("start",), "")),
        (TIMELINE.to_json(), About("timeline", (), "ann")),
        (SchemaScan((0, 1), True, True, 0, True).to_json(), About("schema", (), "")),
        (DID.to_json(), About("cohort", ("buy", "view"), "")),
        (ReachedScan(FUNNEL, 2).to_json(), About("cohort", ("view", "buy"), "")),
        (with_cohorts(FUNNEL.to_json(), [CohortScans("c", (DID.to_json(),))]), About("funnel", ("view", "buy"), "")),
        (b"{", About("unknown", (), "")),
        (b"[]", About("unknown", (), "")),
        (b'{"kind":"funnel","steps":[1]}', About("unknown", (), "")),
    ],
)
def test_a_scan_tells_its_kind_its_events_and_its_user(scan: bytes, found: About) -> None:
    assert about(scan) == found
