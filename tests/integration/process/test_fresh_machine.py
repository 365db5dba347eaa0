"""The README's two commands in a fresh clone of what is committed, by a user without a home (soak: they install)."""

import pytest
from evenshard.testing.fresh_machine import Done, FreshMachine

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

DEMO_S_MAX = 300.0


def test_the_demo_answers_within_five_minutes_of_a_bare_clone(first_demo: Done, bare_clone: FreshMachine) -> None:
    print(f"{first_demo.seconds:.0f} s, installation included")
    assert first_demo.exit_status == 0, first_demo
    assert "224,400 accepted" in first_demo.said
    for headline in ("== A trend", "== A funnel", "== The hot keys", "== Now you"):
        assert headline in first_demo.said
    assert first_demo.said.rstrip().endswith("the demo's data is removed.")
    assert list(bare_clone.temporary.iterdir()) == []
    assert first_demo.seconds < DEMO_S_MAX


def test_the_tests_run_with_what_they_need(fresh_machine: FreshMachine) -> None:
    done = fresh_machine.run(
        "scripts/test.sh", "tests/unit/queries", "tests/property/funnel", "tests/conformance", "-k", "not real_data",
        timeout_s=1200,
    )  # fmt: skip
    print(f"{done.seconds:.0f} s")
    print(done.said[-2000:], done.errors[-2000:])
    assert done.exit_status == 0
    assert " passed" in done.said
    assert "skipped" not in done.said


def test_a_second_demo_installs_nothing(fresh_machine: FreshMachine) -> None:
    again = fresh_machine.run("scripts/demo.sh", timeout_s=300)
    assert again.exit_status == 0, again
    assert "setup: installing" not in again.errors
