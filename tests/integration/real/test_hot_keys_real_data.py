"""The real history with a threshold of 500, its lines in order: rewritten is exactly what the naive model rewrites."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.testing.processes import ClusterProcess
from evenshard.testing.real_data import RealData
from evenshard.testing.reference import HOT_EVENT, Reference, Row

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

THRESHOLD = 500
STEPS = ["Commit", "File added", "Merge"]
FROM, TO = "2010-01-01", "2026-12-31"
START, END = "2010-01-01T00:00:00Z", "2027-01-01T00:00:00Z"


def rows_of(real_data: RealData) -> Iterator[Row]:
    """As the model takes them."""
    for line in real_data.rows:
        properties = dict(line["properties"])
        yield {
            "tenant": line["tenant"],
            "event": line["event"],
            "distinct_id": properties.pop("distinct_id"),
            "time": properties.pop("time"),
            "insert_id": properties.pop("$insert_id"),
            "properties": properties,
        }


@pytest.fixture(scope="module")
def reference(real_data: RealData) -> Reference:
    """The model after the file; without duplicates it does not matter how lines are dealt into batches."""
    tenants = {row["tenant"] for row in real_data.rows}
    model = Reference(thresholds=dict.fromkeys(tenants, THRESHOLD))
    model.import_events(rows_of(real_data))
    return model


def asked(cluster: ClusterProcess, tenants: Iterable[str]) -> dict[str, Any]:
    """Each tenant's answers; exports as rows."""
    answers: dict[str, Any] = {}
    with evenshard.connect(router=cluster.router, gateway=cluster.gateway) as client:
        for tenant in tenants:
            common: dict[str, Any] = {"tenant": tenant, "from_date": FROM, "to_date": TO, "unit": "month"}
            total = client.segmentation(**common).to_dict()
            originals = client.segmentation(
                HOT_EVENT, by=["mp_original_event_name", "mp_original_distinct_id"], limit=10_000, **common
            ).to_dict()
            by_user = client.segmentation(by=["$distinct_id"], limit=10_000, **common).to_dict()
            named = client.segmentation("File added", **common).to_dict()
            answers[tenant] = {
                "total": total["series"][0]["overall"],
                "rewritten": total["meta"]["hot_events_rewritten"],
                "rewritten_named": named["meta"]["hot_events_rewritten"],
                "originals": {tuple(line["by"]): line["overall"] for line in originals["series"]},
                "users": {line["by"][0]: line["overall"] for line in by_user["series"]},
                "export": list(client.export(START, END, tenant=tenant)),
            }
    return answers


def expected(reference: Reference) -> dict[str, Any]:
    """The same from the model, by one loop over its rows."""
    answers: dict[str, Any] = {}
    for tenant in reference.thresholds:
        rows = [row for row in reference.rows if row["tenant"] == tenant]
        hot = [row for row in rows if row["event"] == HOT_EVENT]
        answers[tenant] = {
            "total": len(rows),
            "rewritten": len(hot),
            "rewritten_named": sum(row["stored_event"] == "File added" for row in hot),
            "originals": Counter(
                (row["properties"]["mp_original_event_name"], row["properties"]["mp_original_distinct_id"])
                for row in hot
            ),
            "users": Counter(row["distinct_id"] for row in rows),
            "export": Reference(rows).export(tenant, 0, 1 << 62),
        }
    return answers


def without(users: Iterable[str]) -> str:
    return "$distinct_id not in [{}]".format(", ".join(f'"{user}"' for user in sorted(users)))


def funnels(cluster: ClusterProcess, hot_users: Mapping[str, set[str]]) -> dict[str, list[dict[str, Any]]]:
    """Of each tenant: everybody's, and that of everybody but its hot users, where it has some."""
    found: dict[str, list[dict[str, Any]]] = {}
    with evenshard.connect(router=cluster.router, gateway=cluster.gateway) as client:
        for tenant, users in hot_users.items():
            common: dict[str, Any] = {"tenant": tenant, "from_date": FROM, "to_date": TO, "window": "7d"}
            wheres = [None, *([without(users)] if users else [])]
            found[tenant] = [client.funnel(STEPS, where=where, **common).to_dict() for where in wheres]
    assert all(answer.pop("meta")["complete"] for answers in found.values() for answer in answers)
    return found


def expected_funnels(
    shown: Sequence[Row], stored: Sequence[Row], hot_users: Mapping[str, set[str]]
) -> dict[str, list[dict[str, Any]]]:
    """Everybody's as it is shown; that of everybody but hot users as if nothing had been rewritten."""
    steps = [([name], lambda row: True) for name in STEPS]
    asked: dict[str, Any] = {"from_date": FROM, "to_date": TO, "steps": steps, "window_ms": 7 * 86_400_000}
    found = {}
    for tenant, users in hot_users.items():
        rows = [row for row in shown if row["tenant"] == tenant]
        found[tenant] = [Reference(rows).funnel(tenant, **asked)]
        if users:
            others = [row for row in stored if row["tenant"] == tenant and row["distinct_id"] not in users]
            found[tenant].append(Reference(others).funnel(tenant, **asked))
    return found


@pytest.mark.slow
def test_rewritten_is_what_the_model_rewrites_and_a_second_import_changes_nothing(
    cluster: ClusterProcess, real_file: Path, real_data: RealData, reference: Reference
) -> None:
    for tenant in reference.thresholds:
        made = cluster.run("admin", "create-tenant", tenant, "--hot-key-threshold", str(THRESHOLD))
        assert (made.exit_status, made.document["hot_key_threshold"], made.document["hot_key_mode"]) == (
            0, THRESHOLD, "rewrite",
        )  # fmt: skip
    hot = sum(row["event"] == HOT_EVENT for row in reference.rows)
    assert hot > 1000
    answer = cluster.run("import", str(real_file), "--in-flight", "1")
    document = answer.document
    assert (answer.exit_status, document["accepted"], document["hot_events_rewritten"]) == (0, 244_248, hot)
    assert sum(each["hot_events_rewritten"] for each in document["by_tenant"].values()) == hot
    wanted = expected(reference)
    assert asked(cluster, wanted) == wanted

    again = cluster.run("import", str(real_file), "--in-flight", "1").document
    assert (again["accepted"], again["duplicates"], again["hot_events_rewritten"]) == (244_248, 244_248, 0)
    hot_users = {name: {user for tenant, user, _ in reference.hot_keys if tenant == name} for name in wanted}
    assert {name: bool(users) for name, users in hot_users.items()} == {
        name: wanted[name]["rewritten"] > 0 for name in wanted
    }
    stored = [{**row, "duplicate": False} for row in rows_of(real_data)]
    wanted_funnels = expected_funnels(reference.rows, stored, hot_users)
    assert asked(cluster, wanted) == wanted
    assert funnels(cluster, hot_users) == wanted_funnels
    for tenant in wanted:
        assert cluster.run("admin", "compact", "--tenant", tenant, "--wait").document["backlog_rows"] == 0
    assert asked(cluster, wanted) == wanted
    assert funnels(cluster, hot_users) == wanted_funnels

    # As the published document has it: name and id in two properties, all else intact.
    shown = [row for answers in wanted.values() for row in answers["export"] if row["event"] == HOT_EVENT]
    originals = {(row["tenant"], row["properties"]["$insert_id"]): row for row in real_data.rows}
    for tenant, answers in wanted.items():
        for row in answers["export"]:
            if row["event"] == HOT_EVENT:
                original = originals[tenant, row["properties"]["$insert_id"]]
                assert row == {
                    "event": HOT_EVENT,
                    "properties": {
                        **original["properties"],
                        "distinct_id": "",
                        "mp_original_event_name": original["event"],
                        "mp_original_distinct_id": original["properties"]["distinct_id"],
                    },
                }
    assert len(shown) == hot
