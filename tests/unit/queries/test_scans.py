"""The interface between gateway and shard: scans as JSON, what they read, partials as bytes."""

from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from evenshard.errors import EvenshardError
from evenshard.queries import answer, scans
from evenshard.queries.model import segmentation_query
from evenshard.queries.partials import read_partial, write_partial
from evenshard.queries.plan import ScanStats, SegmentationScan, add_stats
from evenshard.queries.values import JsonText, rank_of_tag, value_of_tag


def plan_of(**fields: object) -> SegmentationScan:
    query = segmentation_query(from_date="2024-01-01", to_date="2024-01-02", **fields)  # type: ignore[arg-type]
    return answer.plan_segmentation(query, ZoneInfo("Europe/Berlin"), dedupe=True).scan


def test_a_scan_reads_back_as_it_was_written() -> None:
    plan = plan_of(by=["a"], where='b == "x"', events=["view"], measure="unique")
    assert SegmentationScan.from_json(plan.to_json()) == plan
    kept = SegmentationScan(**{name: getattr(plan, name) for name in plan.__slots__} | {"keep": (("n",), ("i3",))})
    assert SegmentationScan.from_json(kept.to_json()) == kept


def test_a_scan_reads_no_more_than_it_needs() -> None:
    berlin = (1_704_063_600_000, 1_704_236_400_000)
    assert scans.columns_needed(plan_of().to_json()) == (("time",), (), *berlin, False, ())
    assert scans.columns_needed(
        plan_of(by=["$event", "dir"], where='$insert_id == "x" or ext != 3', measure="unique").to_json()
    ) == (("event", "insert_id", "time"), ("dir", "ext"), *berlin, True, ())
    assert scans.columns_needed(plan_of(events=["view"]).to_json()).fields == ("event", "time")


def test_no_rows_make_an_empty_partial_that_is_a_whole_answer() -> None:
    query = segmentation_query(from_date="2024-01-01", to_date="2024-01-02")
    plan = answer.plan_segmentation(query, ZoneInfo("UTC"), dedupe=True)
    partial, stats = scans.run(plan.scan.to_json(), [])
    assert stats == ScanStats()
    merged = answer.merge([read_partial(partial)])
    assert answer.groups_to_keep(plan, merged) is None
    assert answer.finish(plan, merged) == answer.SegmentationAnswer(
        ("2024-01-01", "2024-01-02"), (answer.Series((), (0, 0), 0),)
    )


@pytest.mark.parametrize(
    "scan", [b"", b"{", b"{}", b'{"version":2,"kind":"segmentation","keep":null}', b"[]", b'{"version":1,"kind":"x"}']
)
def test_a_scan_that_cannot_be_read_is_refused(scan: bytes) -> None:
    with pytest.raises(EvenshardError) as failed:
        scans.columns_needed(scan)
    assert failed.value.code == "QUERY_INVALID"


def test_an_answer_that_would_be_too_large_is_refused() -> None:
    query = segmentation_query(from_date="2024-01-01", to_date="2024-02-01", unit="minute", by=["p"], limit=100)
    plan = answer.plan_segmentation(query, ZoneInfo("UTC"), dedupe=True)
    with pytest.raises(EvenshardError, match="exceeds 2000000 cells"):
        plan.keeping([(f"s{number}",) for number in range(100)])


def test_a_partial_too_large_to_send_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "PARTIAL_BYTES_MAX", 10)
    with pytest.raises(EvenshardError, match="bytes, more than 10") as failed:
        scans.run(plan_of().to_json(), [])
    assert failed.value.code == "QUERY_INVALID"


def test_values_ascend_null_bool_number_string_and_the_rest() -> None:
    tags = [
        "n",
        "bf",
        "bt",
        "d-1e+300",
        "i-1",
        "d0.5",
        f"i{2**53}",
        f"i{2**53 + 1}",
        "d1e+300",
        "s",
        "s3",
        "sb",
        "j[1]",
    ]
    assert sorted(dict.fromkeys(tags[6:] + tags[:6]), key=rank_of_tag) == tags
    assert [value_of_tag(tag) for tag in tags[:6]] == [None, False, True, -1e300, -1, 0.5]
    assert value_of_tag("j[1]") == JsonText("[1]")
    with pytest.raises(ValueError, match="not a tag"):
        value_of_tag("")


def test_accounts_add_up() -> None:
    assert add_stats([ScanStats(1, 2, 3, 4), ScanStats(10, 20, 30, 40)]) == ScanStats(11, 22, 33, 44)
    assert add_stats([]) == ScanStats()


def test_partials_are_arrow() -> None:
    table = pa.table({"bucket": pa.array([1], pa.int32())})
    assert read_partial(write_partial(table)).equals(table)
