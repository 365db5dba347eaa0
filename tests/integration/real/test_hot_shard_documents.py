"""The two published documents on hot shards, on real processes: their example field for field, what they say of it, and
the way out they recommend: export, delete, import again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.client import Client
from evenshard.testing.processes import ClusterProcess

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

THRESHOLD = 100
DAY = {"from_date": "2021-04-18", "to_date": "2021-04-18"}
START, END = "2021-04-18T00:00:00Z", "2021-04-19T00:00:00Z"
HOT = "hotshard@mixpanel.com"
ORIGINAL = {
    "event": "Signed up",
    "properties": {
        "time": 1618716477000,
        "distinct_id": HOT,
        "$insert_id": "36a92782-cd7d-41a0-93af-8c23ec6c4191",
    },
}
UPDATED = {
    "event": "$hotshard_events",
    "properties": {
        "time": 1618716477000,
        "distinct_id": "",
        "mp_original_event_name": "Signed up",
        "mp_original_distinct_id": HOT,
        "$insert_id": "36a92782-cd7d-41a0-93af-8c23ec6c4191",
    },
}
PATIENCE_S = 30.0


def event(user: str, number: int, name: str = "Page viewed") -> dict[str, Any]:
    properties = {"distinct_id": user, "time": 1618716000000 + number, "$insert_id": f"{user}-{number}"}
    return {"event": name, "properties": properties}


@pytest.fixture(scope="module")
def client(shared_cluster: ClusterProcess) -> Iterator[Client]:
    with evenshard.connect(shared_cluster.router, shared_cluster.gateway, timeout=PATIENCE_S) as client:
        yield client


def crossed(client: Client, tenant: str) -> None:
    """The document's id crosses its threshold, with one batch in flight; then the example comes."""
    client.create_tenant(tenant, hot_key_threshold=THRESHOLD)
    for first in range(0, 150, 50):
        events = [event(HOT, number) for number in range(first, first + 50)]
        events += [event(f"user-{number}", number) for number in range(first, first + 50)]
        assert client.import_events(events, tenant=tenant).accepted == 100
    assert client.import_events([ORIGINAL], tenant=tenant).hot_events_rewritten == 1


def exported(client: Client, tenant: str, **options: Any) -> list[Any]:
    return list(client.export(START, END, tenant=tenant, **options))


def answers(client: Client, tenant: str) -> list[Any]:
    found: list[Any] = [exported(client, tenant), exported(client, tenant, restore_hot=True)]
    for restore_hot in (False, True):
        for options in ({}, {"measure": "unique"}, {"by": "$event"}, {"by": "$distinct_id"}):
            answer = client.segmentation(tenant=tenant, restore_hot=restore_hot, **DAY, **options)
            found.append((answer.series, answer.meta["hot_events_rewritten"]))
        funnel = client.funnel(["Page viewed", "Signed up"], tenant=tenant, restore_hot=restore_hot, **DAY)
        found.append(funnel.to_dict()["overall"])
    return found


def test_the_example_is_updated_field_for_field_and_its_original_is_kept(client: Client) -> None:
    crossed(client, "example")
    rows = exported(client, "example")
    assert [row for row in rows if row["properties"]["$insert_id"] == ORIGINAL["properties"]["$insert_id"]] == [UPDATED]
    restored = exported(client, "example", restore_hot=True)
    assert ORIGINAL in restored
    assert [row["event"] for row in restored].count("$hotshard_events") == 0
    # "Historical events prior to the hotshard detection are not updated"
    kept = [row for row in rows if row["properties"]["distinct_id"] == HOT]
    assert kept == [event(HOT, number) for number in range(THRESHOLD)]
    # "These events can be queried from the dashboard just like any other events"
    by_name = client.segmentation(tenant="example", by="$event", **DAY)
    assert {line["by"][0]: line["overall"] for line in by_name.series} == {"Page viewed": 250, "$hotshard_events": 51}
    assert by_name.meta["hot_events_rewritten"] == 51


def test_a_breakdown_by_the_originals_names_the_runaway_first(client: Client, shared_cluster: ClusterProcess) -> None:
    crossed(client, "breakdown")
    some = [event("somebody", number) for number in range(THRESHOLD + 20)]
    client.import_events(some[:-10], tenant="breakdown")
    client.import_events(some[-10:], tenant="breakdown")
    found = shared_cluster.run(
        "query", "segmentation", "--tenant", "breakdown", "--from", "2021-04-18", "--to", "2021-04-18",
        "--event", "$hotshard_events", "--by", "mp_original_distinct_id", "--by", "mp_original_event_name",
    )  # fmt: skip
    assert found.exit_status == 0
    series = [(line["by"], line["overall"]) for line in found.document["series"]]
    assert series == [([HOT, "Page viewed"], 50), (["somebody", "Page viewed"], 20), ([HOT, "Signed up"], 1)]
    schema = shared_cluster.run("query", "schema", "--tenant", "breakdown", "--include-hidden").document
    hidden = [(each["name"], each["count"]) for each in schema["events"] if each["hidden"]]
    assert hidden == [("$hotshard_events", 71)]
    names = {each["name"]: each["display_name"] for each in schema["properties"]}
    assert names["mp_original_event_name"] == "Hotshard Original Event Name"
    assert names["mp_original_distinct_id"] == "Hotshard Original Distinct ID"
    plain = shared_cluster.run("query", "schema", "--tenant", "breakdown").document
    assert {each["name"] for each in plain["events"]} == {"Page viewed"}


@pytest.mark.parametrize("mode", ["rewrite", "salt"])
def test_an_export_comes_back_into_a_new_tenant_and_after_a_deletion_into_its_own(
    client: Client, shared_cluster: ClusterProcess, tmp_path: Path, mode: str
) -> None:
    name, file = f"round-{mode}", tmp_path / "rows.ndjson"
    shared_cluster.run("admin", "create-tenant", name, "--hot-key-threshold", str(THRESHOLD), "--hot-key-mode", mode)
    for first in range(0, 200, 50):
        events = [event(user, number) for user in (HOT, "calm") for number in range(first, first + 50)]
        client.import_events([each for each in events if HOT in str(each) or first == 0], tenant=name)
    before = answers(client, name)
    wrote = shared_cluster.run("export", "--tenant", name, "--start", START, "--end", END, "--out", str(file))
    assert (wrote.exit_status, wrote.document["rows"]) == (0, 250)
    copy = f"copy-{mode}"
    shared_cluster.run("admin", "create-tenant", copy, "--hot-key-threshold", str(THRESHOLD), "--hot-key-mode", mode)
    for tenant in (copy, name):
        if tenant == name:
            deleted = shared_cluster.run("admin", "delete-users", name, HOT, "calm", "--yes")
            assert deleted.exit_status == 0
            assert exported(client, name) == []
        # One router, one batch in flight: the crossing is exact to the event.
        came = shared_cluster.run("import", str(file), "--tenant", tenant, "--batch-rows", "50", "--in-flight", "1")
        counts = [came.document[count] for count in ("accepted", "duplicates", "rejected")]
        assert (came.exit_status, counts) == (0, [250, 0, 0])
        assert answers(client, tenant) == before
    again = shared_cluster.run("import", str(file), "--tenant", name)
    assert (again.document["accepted"], again.document["duplicates"]) == (250, 250)
    assert answers(client, name) == before


def test_fixed_events_come_back_under_the_ids_they_should_have_had(client: Client) -> None:
    """The documents' recipe: export, delete, set the id, drop the two properties, import."""
    crossed(client, "fixed")
    rows = exported(client, "fixed")
    operation = client.delete_users([HOT], tenant="fixed")["operation"]
    client.wait_operation(operation)
    right = []
    for row in rows:
        properties = dict(row["properties"])
        name = properties.pop("mp_original_event_name", row["event"])
        if HOT in (properties.pop("mp_original_distinct_id", None), properties["distinct_id"]):
            properties["distinct_id"] = f"right-{properties['time'] % 3}"
            right.append({"event": name, "properties": properties})
    assert len(right) == 151
    result = client.import_events(right, tenant="fixed")
    assert (result.accepted, result.duplicates, result.hot_events_rewritten) == (151, 0, 0)
    users = client.segmentation(tenant="fixed", by="$distinct_id", limit=1_000, **DAY).series
    counts = {line["by"][0]: line["overall"] for line in users}
    assert sum(count for user, count in counts.items() if str(user).startswith("right-")) == 151
    assert HOT not in counts
    assert sum(counts.values()) == 301


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (("--hot-key-threshold", "0"), "hot"),
        (("--hot-key-threshold", "-1"), "hot"),
        (("--hot-key-mode", "pepper"), "hot"),
        (("--report-sink", "carrier:pigeon"), "report"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(
    shared_cluster: ClusterProcess, flags: tuple[str, str], field: str
) -> None:
    refused = shared_cluster.run("admin", "create-tenant", "wrong", *flags)
    error = refused.document["error"]
    assert (refused.exit_status, field in error["message"]) == (2, True)
    assert error["code"] in ("USAGE", "QUERY_INVALID")
    assert shared_cluster.run("admin", "tenant", "wrong").document["error"]["code"] == "TENANT_NOT_FOUND"
