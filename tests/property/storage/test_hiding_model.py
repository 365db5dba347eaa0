"""What deletions hide of rows, against naive Python: of any that came after, any user named, anything before the last
horizon."""

import numpy as np
import pyarrow as pa
from evenshard.storage.deletions import Deletion, Deletions, from_json, placement_of, to_json
from hypothesis import given, settings
from hypothesis import strategies as st

names = st.sampled_from(["", "ann", "bob", "cleo", "größe", "\0", "a" * 60])
records = st.lists(st.one_of(st.lists(names, max_size=4).map(tuple), st.integers(-5, 20)), max_size=6)
rows = st.lists(st.tuples(names, st.integers(-3, 22)), min_size=1, max_size=30)


def deletions_of(kinds: list[tuple[str, ...] | int]) -> Deletions:
    """As a store makes them: the anonymous are in none, horizons rise."""
    made: list[Deletion] = []
    horizon_ms = -(1 << 40)
    for seq, kind in enumerate(kinds, 1):
        if isinstance(kind, int):
            horizon_ms = max(horizon_ms + 1, kind)
            made.append(Deletion(seq, seq, "", horizon_ms=horizon_ms))
        else:
            made.append(Deletion(seq, seq, f"op-{seq}", tuple(sorted({user for user in kind if user}))))
    return Deletions(made)


@given(records, rows, st.integers(0, 7), st.booleans())
@settings(max_examples=200, deadline=None)
def test_hidden_rows_are_those_that_some_later_deletion_names(
    kinds: list[tuple[str, ...] | int], stored: list[tuple[str, int]], seen: int, encoded: bool
) -> None:
    deletions = deletions_of(kinds)
    later = [record for record in deletions.records if record.seq > seen]
    expected = [
        any(user in record.users or (record.horizon_ms is not None and time < record.horizon_ms) for record in later)
        for user, time in stored
    ]
    ids = pa.array([user for user, _ in stored], pa.utf8())
    column = ids.dictionary_encode() if encoded else ids
    placement, times = placement_of(ids), np.array([time for _, time in stored], np.int64)
    hiding = deletions.hiding(seen)
    if hiding is None:
        assert not later
        return
    hidden = hiding.rows(placement, lambda wanted: column.take(pa.array(wanted)), times)
    assert (hidden if hidden is not None else np.zeros(len(stored), np.bool_)).tolist() == expected
    order = np.argsort(placement, kind="stable")
    in_order = hiding.rows(
        placement[order], lambda wanted: column.take(pa.array(order[wanted])), times[order], in_order=True
    )
    assert (in_order is None) == (hidden is None)
    if in_order is not None and hidden is not None:
        assert in_order.tolist() == hidden[order].tolist()
    if any(expected):
        assert hiding.may_hide(int(placement.min()), int(placement.max()), int(times.min()))
    for (_, time), where, is_hidden in zip(stored, placement.tolist(), expected, strict=True):
        assert not is_hidden or hiding.may_hide(where, where, time)


@given(records)
def test_deletions_come_back_from_the_catalog_as_they_were(kinds: list[tuple[str, ...] | int]) -> None:
    for record in deletions_of(kinds).records:
        assert from_json(to_json(record)) == record
        assert from_json(to_json(record.retire())) == record.retire()
