"""The real history through real processes: every answer equals a naive reading of the file, again and again."""

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import evenshard
import orjson
import pytest
from evenshard.testing.processes import ClusterProcess
from evenshard.testing.real_data import RealData

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

FROM, TO = "2010-01-01", "2026-12-31"
FILES_MAX = 48


def _month(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-01")


def naive_answers(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """For each tenant what the cluster is asked, by one loop over the rows."""
    answers: dict[str, Any] = {}
    for row in rows:
        tenant, properties = row["tenant"], row["properties"]
        mine = answers.setdefault(
            tenant,
            {"total": 0, "events": Counter(), "months": defaultdict(set), "users": set(), "dirs": Counter()},
        )
        mine["total"] += 1
        mine["events"][row["event"]] += 1
        mine["months"][_month(properties["time"])].add(properties["distinct_id"])
        mine["users"].add(properties["distinct_id"])
        mine["dirs"][properties.get("dir")] += 1
    for mine in answers.values():
        mine["months"] = {month: len(users) for month, users in mine["months"].items()}
        mine["users"] = len(mine["users"])
        mine["events"], mine["dirs"] = dict(mine["events"]), dict(mine["dirs"])
    return answers


def asked_answers(cluster: ClusterProcess, tenants: list[str]) -> dict[str, Any]:
    """The same from the cluster."""
    answers: dict[str, Any] = {}
    with evenshard.connect(router=cluster.router, gateway=cluster.gateway) as client:
        for tenant in tenants:
            common: dict[str, Any] = {"tenant": tenant, "from_date": FROM, "to_date": TO, "unit": "month"}
            total = client.segmentation(**common).to_dict()["series"]
            users = client.segmentation(measure="unique", **common).to_dict()
            by_event = client.segmentation(by=["$event"], **common).to_dict()["series"]
            by_dir = client.segmentation(by=["dir"], limit=10_000, **common).to_dict()["series"]
            answers[tenant] = {
                "total": sum(line["overall"] for line in total),
                "events": {line["by"][0]: line["overall"] for line in by_event},
                "months": {
                    month: count
                    for month, count in zip(users["buckets"], users["series"][0]["values"], strict=True)
                    if count
                },
                "users": users["series"][0]["overall"],
                "dirs": {line["by"][0]: line["overall"] for line in by_dir},
            }
    return answers


@pytest.fixture(scope="module")
def imported(shared_cluster: ClusterProcess, real_file: Path) -> ClusterProcess:
    answer = shared_cluster.run("import", str(real_file), "--create-tenant")
    assert answer.exit_status == 0, answer
    assert (answer.document["accepted"], answer.document["duplicates"], answer.document["rejected"]) == (244_248, 0, 0)
    return shared_cluster


def test_every_answer_equals_the_naive_reading(imported: ClusterProcess, real_data: RealData) -> None:
    expected = naive_answers(real_data.rows)
    assert asked_answers(imported, sorted(expected)) == expected


def test_sparse_days_become_few_files_and_answers_stay(imported: ClusterProcess, real_data: RealData) -> None:
    expected = naive_answers(real_data.rows)
    for tenant in expected:
        compacted = imported.run("admin", "compact", "--tenant", tenant, "--wait")
        assert (compacted.exit_status, compacted.document["backlog_rows"]) == (0, 0), compacted
    storage = imported.run("admin", "storage").document["tenants"]
    assert {line["tenant"]: (line["log_rows"], line["segment_rows"]) for line in storage} == {
        tenant: (0, answers["total"]) for tenant, answers in expected.items()
    }
    assert sum(line["segments"] for line in storage) <= FILES_MAX
    assert asked_answers(imported, sorted(expected)) == expected


@pytest.mark.parametrize("seed", [1])
def test_the_same_file_again_shuffled_changes_no_answer(
    imported: ClusterProcess, real_data: RealData, tmp_path: Path, seed: int
) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    lines = list(real_data.lines)
    chance.shuffle(lines)
    expected = naive_answers(real_data.rows)
    tenants = sorted(expected)
    sent = 0
    parts = (lines[: len(lines) // 3], lines[len(lines) // 3 : len(lines) // 2], lines[len(lines) // 2 :])
    for part, batch_rows in zip(parts, (777, 5_000, 20_000), strict=True):
        again = tmp_path / "again.ndjson"
        again.write_bytes(b"\n".join(part) + b"\n")
        imported.run("admin", "compact", "--tenant", chance.choice(tenants))
        answer = imported.run("import", str(again), "--batch-rows", str(batch_rows))
        document = answer.document
        assert (answer.exit_status, document["accepted"], document["duplicates"]) == (0, len(part), len(part)), answer
        sent += len(part)
        assert asked_answers(imported, tenants) == expected
    for tenant in tenants:
        imported.run("admin", "compact", "--tenant", tenant, "--wait")
    assert asked_answers(imported, tenants) == expected
    storage = imported.run("admin", "storage").document["tenants"]
    assert sum(line["duplicate_rows"] for line in storage) == sent


def test_export_gives_every_event_back(imported: ClusterProcess, real_data: RealData, tmp_path: Path) -> None:
    out = tmp_path / "export.ndjson"
    answer = imported.run(
        "export", "--tenant", "structlog", "--start", "2010-01-01T00:00:00Z", "--end", "2027-01-01T00:00:00Z",
        "--out", str(out),
    )  # fmt: skip
    assert answer.exit_status == 0, answer
    exported = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    mine = [row for row in real_data.rows if row["tenant"] == "structlog"]
    expected = [{"event": row["event"], "properties": row["properties"]} for row in mine]

    def order(row: dict[str, Any]) -> tuple[Any, ...]:
        fields = row["properties"]
        return fields["time"], fields["distinct_id"].encode(), row["event"].encode(), fields["$insert_id"].encode()

    assert exported == sorted(expected, key=order)
