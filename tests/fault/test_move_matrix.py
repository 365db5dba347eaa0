"""kill -9, SIGSTOP and being cut off from etcd, of source, target, driving router and etcd, in each state of a move, on
real processes under load: it switches, or goes on to be rolled back, within 30 s of the end of the fault, and nothing
is lost or doubled."""

import json
from itertools import product
from pathlib import Path

import evenshard
import pytest
from evenshard.runtime.etcd_binary import find_etcd
from evenshard.testing.moves_model.load import Load, counted
from evenshard.testing.moves_model.matrix import (
    FAULTS,
    HEADER,
    HEALED_WITHIN_S,
    STATES,
    TENANT,
    VICTIMS,
    Cell,
    Fault,
    Victim,
    cell,
    stage_for_cells,
)

pytestmark = pytest.mark.cluster


def lived(place: Path, wanted: list[tuple[Fault, Victim, str]]) -> list[Cell]:
    """All of them in one cluster, one after the other."""
    cells: list[Cell] = []
    with stage_for_cells(place) as stage:
        router, gateway = stage.cluster.router, stage.cluster.gateway
        with Load(router, gateway, TENANT, pause_s=0.02, is_patient=True) as load:
            for fault, victim, state in wanted:
                cells.append(cell(stage, fault, victim, state, load))
                print(cells[-1].row(), flush=True)
        with evenshard.connect(router, gateway, tenant=TENANT) as client:
            found = counted(client)
            assert load.acked <= found <= load.sent
    assert [failure for failure in load.failures if "query:" in failure and "events where" in failure] == []
    return cells


def test_a_source_is_killed_in_the_middle_of_a_move(tmp_path: Path) -> None:
    (found,) = lived(tmp_path, [("kill", "source", "copying")])
    assert (found.problem, found.ended) == ("", "switched")


@pytest.mark.slow
def test_a_source_that_is_cut_off_from_etcd_is_fenced_until_it_knows(tmp_path: Path) -> None:
    (found,) = lived(tmp_path, [("cut", "source", "fenced")])
    assert (found.problem, found.ended) == ("", "switched")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_whole_matrix(tmp_path: Path) -> None:
    wanted = list(product(FAULTS, VICTIMS, STATES))
    if find_etcd().may_lose_consistency:
        print("this etcd may lose consistency when it is killed: instead it is ended by SIGTERM, and started again")
    print(HEADER)
    cells = lived(tmp_path, wanted)
    print("\n".join([HEADER, *(each.row() for each in cells)]))
    print(json.dumps({"cells": len(cells), "healed_s_max": max(each.healed_s for each in cells)}))
    assert [each.row() for each in cells if each.problem or each.healed_s > HEALED_WITHIN_S] == []
