"""Members are the same users wherever users are numbered anew, and those whom every scan found."""

import numpy as np
import pyarrow as pa
from evenshard.events.users import People, listed
from evenshard.queries.members import Members, in_all


def people(*ids: str) -> People:
    return listed(pa.array(ids, pa.utf8())).people


def members(among: People, *ids: str) -> Members:
    """Some of ``among``, and others."""
    known = among.ids(np.arange(len(among), dtype=np.int32)).to_pylist()
    others = [each for each in ids if each not in known]
    return Members(among, np.array([each in ids for each in known], np.bool_), pa.array(others, pa.utf8()))


def named(among: People, belongs: np.ndarray) -> list[str]:
    return sorted(among.ids(np.flatnonzero(belongs).astype(np.int32)).to_pylist())


def test_members_are_found_among_users_who_are_numbered_otherwise() -> None:
    known, larger = people("ann", "bob", "größe"), people("bob", "größe", "cy", "dee", "x")
    found = members(known, "größe", "ann", "x")
    assert sorted(found.ids().to_pylist()) == ["ann", "größe", "x"]
    assert named(known, found.among(known)) == ["ann", "größe"]
    assert named(larger, found.among(larger)) == ["größe", "x"]
    assert members(known).ids().to_pylist() == []


def test_those_whom_every_scan_found_belong() -> None:
    known, larger = people("ann", "bob", "cy"), people("ann", "bob", "cy", "dee", "eve")
    every = [members(known, "ann", "bob", "dee", "fay"), members(larger, "bob", "dee", "fay", "eve")]
    assert sorted(in_all(every).ids().to_pylist()) == ["bob", "dee", "fay"]
    assert sorted(in_all(every[::-1]).ids().to_pylist()) == ["bob", "dee", "fay"]
    assert sorted(in_all(every[:1]).ids().to_pylist()) == ["ann", "bob", "dee", "fay"]
