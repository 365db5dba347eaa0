"""``evenshard cohort`` and ``cohorts``, and the client's, against a cluster that is none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.cli.main import run
from evenshard.errors import EvenshardError
from evenshard.testing.fake_cluster import FakeCluster

SAVE = ["cohort", "save", "buyers", "--tenant", "acme", "--from", "2026-01-01", "--to", "2026-01-31"]
Run = Callable[..., tuple[int, Any]]


def test_a_cohort_is_saved_listed_and_deleted(ask: Run) -> None:
    saved = {
        "name": "buyers", "version": 1, "users": 12,
        "definition": {
            "from_date": "2026-01-01", "to_date": "2026-01-31",
            "did": [{"step": {"events": ["buy", "pay"], "where": "a == 1"}, "at_least": 3}],
            "did_not": [{"events": ["return"]}],
        },
    }  # fmt: skip
    flags = ["--did", "buy|pay where a == 1", "--at-least", "3", "--did-not", "return"]
    assert ask(*SAVE, *flags) == (0, {"cohorts": [saved]})
    assert ask("cohorts", "--tenant", "acme") == (0, {"cohorts": [saved]})
    assert ask(*SAVE, *flags)[1]["cohorts"][0]["version"] == 2
    assert ask("cohort", "delete", "buyers", "--tenant", "acme") == (0, {"cohorts": []})
    status, document = ask("cohort", "delete", "buyers", "--tenant", "acme")
    assert (status, document["error"]["code"]) == (4, "COHORT_NOT_FOUND")


def test_a_number_for_each_step_and_a_funnel(ask: Run, cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "funnel.json"
    path.write_text(json.dumps({"steps": [{"events": ["a"]}, {"events": ["b"]}], "window_ms": 5}))
    status, document = ask(
        *SAVE, "--did", "a", "--did", "b", "--at-least", "1", "--at-least", "2", "--funnel", str(path), "--reached", "2"
    )
    (cohort,) = document["cohorts"]
    assert (status, [each["at_least"] for each in cohort["definition"]["did"]]) == (0, [1, 2])
    assert cohort["definition"]["funnel"] == {
        "funnel": {"steps": [{"events": ["a"]}, {"events": ["b"]}], "window_ms": 5}, "reached": 2
    }  # fmt: skip
    assert cluster.cohorts["buyers"].definition.funnel.funnel.window_ms == 5


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--did", "a", "--at-least", "0"], "QUERY_INVALID", "at_least[0]: 0 is less than 1"),
        (["--did", "a", "--at-least", "1", "--at-least", "2"], "QUERY_INVALID", "at_least: 2 numbers for 1 steps"),
        (["--did", "a where b ="], "QUERY_INVALID", "did[0].where, character 3"),
        (["--reached", "1"], "QUERY_INVALID", "funnel: a funnel and the step"),
        (["--funnel", "nowhere.json", "--reached", "1"], "USAGE", "nowhere.json"),
    ],
)
def test_wrong_flags_are_answered_by_a_sentence(
    ask: Run, cluster: FakeCluster, arguments: list[str], code: str, says: str
) -> None:
    status, document = ask(*SAVE, *arguments)
    assert (status, document["error"]["code"]) == (2, code)
    assert says in document["error"]["message"]
    assert not cluster.cohorts


def test_people_see_who_is_meant_and_how_to_ask(cluster: FakeCluster, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*SAVE, "--did", "buy", "--at-least", "3", "--did-not", "return"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[1].split(maxsplit=3) == [
        "buyers", "1", "12", "2026-01-01 to 2026-01-31: did buy ≥ 3 times and did not return"
    ]  # fmt: skip
    assert lines[3] == "to ask about them: --where '`$cohort:buyers` == true'"


def test_the_client_saves_lists_and_deletes(cluster: FakeCluster) -> None:
    with evenshard.connect(gateway=cluster.address, tenant="acme") as client:
        days: dict[str, Any] = {"from_date": "2026-01-01", "to_date": "2026-01-02"}
        saved = client.save_cohort("x", **days, did=["a", "b"], at_least=[1, 4])
        assert [each["at_least"] for each in saved["cohorts"][0]["definition"]["did"]] == [1, 4]
        assert client.cohorts() == saved
        with pytest.raises(EvenshardError, match="no funnel request"):
            client.save_cohort("x", **days, funnel="{", reached=1)
        assert client.delete_cohort("x") == {"cohorts": []}
