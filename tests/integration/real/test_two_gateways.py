"""What one gateway saves every other one knows, within a second."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.testing.processes import ClusterProcess

DAYS = {"from_date": "2026-01-01", "to_date": "2026-01-02"}
KNOWN_WITHIN_S = 1.0
ROUNDS = 5


def seconds_until(condition: Callable[[], bool]) -> float:
    started_s = time.monotonic()
    while True:
        asked_s = time.monotonic()
        if condition():
            return asked_s - started_s
        assert asked_s - started_s < 30


def versions(client: evenshard.Client) -> Sequence[int]:
    return [each["version"] for each in client.cohorts().cohorts]


@pytest.mark.slow
@pytest.mark.cluster
def test_a_cohort_and_its_next_version_and_its_end_are_known_everywhere_within_a_second(tmp_path: Path) -> None:
    with ExitStack() as opened:
        cluster = opened.enter_context(ClusterProcess(tmp_path / "c", gateways=2))
        one, other = (
            opened.enter_context(evenshard.connect(cluster.router, gateway, tenant="acme"))
            for gateway in cluster.ready["gateways"]
        )
        one.create_tenant("acme")
        event = {"event": "buy", "distinct_id": "ann", "time": 1_767_225_600_000, "insert_id": "a", "properties": {}}
        assert one.import_events([event]).accepted == 1
        took_s = []

        def known(change: Callable[[], Any], expected: Sequence[int]) -> None:
            change()
            took_s.append(seconds_until(lambda: versions(other) == expected))

        for _ in range(ROUNDS):
            known(lambda: one.save_cohort("buyers", did="buy", **DAYS), [1])
            assert other.segmentation(where="`$cohort:buyers` == true", **DAYS).series[0]["overall"] == 1
            known(lambda: one.save_cohort("buyers", did="buy", at_least=2, **DAYS), [2])
            assert other.segmentation(where="`$cohort:buyers` == true", **DAYS).series[0]["overall"] == 0
            known(lambda: one.delete_cohort("buyers"), [])
        print(f"known after at most {max(took_s):.3f} s")
        assert max(took_s) <= KNOWN_WITHIN_S
