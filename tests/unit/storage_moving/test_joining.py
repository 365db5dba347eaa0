"""Copied segments join the ranges that are there: ranges stay disjoint, nothing is lost, runs stay runs."""

from dataclasses import replace
from random import Random

import pytest
from evenshard.ids import TenantId
from evenshard.storage.compaction.plan import plan, ranges_of
from evenshard.storage.layers import COPIED, Layer
from evenshard.storage.moving.joining import joined, ready_to_join
from evenshard.storage.segment.info import SegmentInfo


def info(number: int, first: int, last: int, run: int, layer: str = "") -> SegmentInfo:
    files = (f"{number}.parquet", f"{number}.filter")
    return SegmentInfo(
        number, TenantId("a"), first, last, run, 0, 0, 0, 0, 4095, 100 + number, 0, 0, 10, files, 0, layer=layer
    )


@pytest.mark.parametrize("seed", range(30))
def test_any_ranges_join(seed: int) -> None:
    random = Random(seed)
    segments, day, number = [], 0, 0
    for layer in ("", COPIED + "a", COPIED + "b", "repair"):
        day = 0
        for _ in range(random.randrange(4)):
            first = day + random.randrange(3)
            last = day = first + random.randrange(4)
            day += 1
            for run in range(random.randint(1, 3)):
                for _ in range(random.randint(1, 2)):
                    number += 1
                    segments.append(info(number, first, last, run, layer))
    ready = [COPIED + "a", COPIED + "b"]
    changed = {each.id: each for each in joined(segments, ready)}
    after = [changed.get(each.id, each) for each in segments]
    assert {each.layer for each in after} <= {"", "repair"}, seed
    assert [each for each in after if each.layer] == [each for each in segments if each.layer == "repair"]
    for before, now in zip(segments, after, strict=True):
        assert now.first_day <= before.first_day <= before.last_day <= now.last_day
        same = replace(now, first_day=before.first_day, last_day=before.last_day, run=before.run, layer=before.layer)
        assert same == before
    plain = [each for each in after if not each.layer]
    ranges = ranges_of(plain)  # raises where they overlap
    runs = {(each.first_day, each.last_day, each.run, each.layer) for each in segments if each.layer != "repair"}
    assert sum(len(each.runs) for each in ranges) == len(runs)
    plan(ranges, {}, 1000)
    assert joined(after, []) == []


def test_a_layer_joins_once_no_row_before_it_would_be_derived_anew() -> None:
    layers = {
        name: Layer(name, shown=True, counts=((0, False), (at, True)))
        for name, at in ((COPIED + "a", 10), (COPIED + "b", 20), ("repair", 5))
    }
    assert ready_to_join(layers, 9, has_tail=True) == []
    assert ready_to_join(layers, 10, has_tail=True) == [COPIED + "a"]
    assert ready_to_join(layers, 0, has_tail=False) == [COPIED + "a", COPIED + "b"]
