"""Marks as the directory keeps them."""

import json
from dataclasses import replace

import pytest
from evenshard.errors import EvenshardError
from evenshard.hotkeys.marks import Mark
from evenshard.ids import ShardId

MARK = Mark(
    "rewrite", 100, 101, "n1", "crossing", "rewrite", 1_767_225_600_000,
    ((0, 2047, ShardId("shard-0")), (2048, 4095, ShardId("shard-1"))),
)  # fmt: skip


def test_a_mark_comes_back_as_it_was_written() -> None:
    for mark in (MARK, replace(MARK, state="active", mode="salt"), Mark("observe", 1, 2, "n", born="observe")):
        assert Mark.from_json(mark.to_json()) == mark


@pytest.mark.parametrize("mode", ["rewrite", "observe"])
def test_a_mark_of_version_1_is_active_and_its_rows_stay_at_home(mode: str) -> None:
    written = json.dumps({"version": 1, "mode": mode, "threshold": 5, "count": 6, "nonce": "n"}).encode()
    mark = Mark.from_json(written)
    assert (mark.mode, mark.born, mark.state, mark.threshold, mark.count, mark.nonce) == (
        mode,
        mode,
        "active",
        5,
        6,
        "n",
    )
    assert not mark.is_spread
    assert mark.has_hot_rows == (mode == "rewrite")


def test_a_newer_mark_is_refused() -> None:
    with pytest.raises(EvenshardError) as refused:
        Mark.from_json(json.dumps({"version": 3}).encode())
    assert refused.value.code == "FORMAT_TOO_NEW"


def test_rows_are_spread_once_the_key_was_handed_over() -> None:
    assert not MARK.is_spread
    assert replace(MARK, state="active").is_spread
    assert not replace(MARK, state="active", overflow=()).is_spread


def test_only_a_mark_born_to_rewrite_changes_how_it_is_shown() -> None:
    restored = MARK.shown_as("salt")
    assert restored == replace(MARK, mode="salt")
    assert restored.has_hot_rows
    assert restored.shown_as("rewrite") == MARK
    for mark, mode in ((replace(MARK, born="salt", mode="salt"), "rewrite"), (MARK, "observe")):
        with pytest.raises(ValueError, match="cannot be shown"):
            mark.shown_as(mode)  # type: ignore[arg-type]
