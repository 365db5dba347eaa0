"""What is passed over cannot matter: whatever filter is asked of whatever rows, where one is true of a row it may be
true, and where it is false it may be false; also where what is known of the rows is less than there is to know."""

from dataclasses import dataclass
from typing import Any

import pytest
from evenshard.events.limits import HOT_EVENT
from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import All, Comparison, Expression, Membership, Not, Presence, TextTest, parse
from evenshard.queries.expression import Any as AnyOf
from evenshard.queries.expression_model import OPERATORS
from evenshard.queries.pruning import RowsThatMatter, may_be_false, may_be_true, may_matter
from evenshard.testing.reference import Row
from evenshard.testing.scanned import event_record
from hypothesis import given, settings
from hypothesis import strategies as st

NUMBERS = [0, -1, 3, 3.0, 3.5, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, -(2**63), 2.0**63, 1e300, -0.0]
NAMES = ["a", "b", "$event", "$distinct_id", "$time", "$insert_id"]
TIMES = [3, 5, 2**40]
RFC = "1970-01-01T00:00:00.005Z"
literals = st.sampled_from([*NUMBERS, *TIMES, 2**70, 10**399, True, False, "", "3", "view", "ann", "x", RFC])
values = st.sampled_from([None, *NUMBERS, True, False, "", "3", "view", [1], ["x"], {"x": 1}])
rows = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["view", "buy"]),
        "distinct_id": st.sampled_from(["", "ann"]),
        "time": st.sampled_from(TIMES),
        "insert_id": st.sampled_from([None, "x", "y"]),
        "duplicate": st.just(False),
        "properties": st.dictionaries(st.sampled_from(["a", "b"]), values),
    }
)
leaves = st.one_of(
    st.builds(Comparison, st.sampled_from(NAMES), st.sampled_from(OPERATORS), literals),
    st.builds(Membership, st.sampled_from(NAMES), st.booleans(), st.lists(literals, min_size=1, max_size=3).map(tuple)),
    st.builds(TextTest, st.sampled_from(NAMES), st.just("contains"), literals),
    st.builds(Presence, st.sampled_from(NAMES), st.booleans()),
)
expressions: st.SearchStrategy[Expression] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@dataclass(frozen=True, slots=True)
class Known:
    """All that there is to know of rows; but a question by whose number ``vague`` has a bit may be answered by True."""

    rows: list[Row]
    vague: int = 0
    has_hot_rows: bool = False

    @property
    def times_ms(self) -> tuple[int, int]:
        times = [row["time"] for row in self.rows]
        return min(times), max(times)

    def may_hold_field(self, field: str, text: str) -> bool:
        return self._vague(field, text) or any(row[field] == text for row in self.rows)

    def may_hold_property(self, name: str, value: Any) -> bool:
        def same(found: Any) -> bool:
            kinds = [kind for kind in (bool, str, (int, float)) if isinstance(value, kind)]
            return isinstance(found, kinds[0]) and isinstance(found, bool) == isinstance(value, bool) and found == value

        return self._vague(name, value) or any(same(row["properties"].get(name)) for row in self.rows)

    def may_have_property(self, name: str) -> bool:
        return self._vague(name, None) or any(row["properties"].get(name) is not None for row in self.rows)

    def _vague(self, *question: object) -> bool:
        return bool(self.vague >> (sum(repr(question).encode()) % 16) & 1)


@settings(max_examples=200, deadline=None, print_blob=True)
@given(expressions, st.lists(rows, min_size=1, max_size=3), st.integers(0, (1 << 16) - 1))
def test_what_is_true_or_false_of_a_row_may_be(expression: Expression, some: list[Row], vague: int) -> None:
    of_rows = evaluate(expression, event_record(some)).tolist()
    for known in (Known(some), Known(some, vague)):
        assert may_be_true(expression, known) or True not in of_rows
        assert may_be_false(expression, known) or False not in of_rows


ROW: Row = {
    "event": "view", "distinct_id": "ann", "time": 5, "insert_id": "x", "duplicate": False,
    "properties": {"n": 3, "s": "x", "yes": True, "list": [1]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ('s == "x"', True),
        ('s == "y"', False),
        ("s == 3", False),
        ("n == 3.0", True),
        ("n == 4", False),
        ('n == "3"', False),
        ("yes == true", True),
        ("yes == false", False),
        ("yes != true", False),
        ("yes != false", True),
        ("yes < true", False),
        ("n != 3", True),
        ("n > 100", True),
        ("missing > 100", False),
        ("missing != 1", False),
        ("missing not in [1]", False),
        ("missing is set", False),
        ("missing is not set", True),
        ("not (missing is not set)", False),
        ('s in ["y", "z"]', False),
        ('s in ["y", "x"]', True),
        ('missing contains "x"', False),
        ('s == "x" and n == 4', False),
        ('s == "y" or n == 3', True),
        ('s == "y" or n == 4', False),
        ('not (s == "y")', True),
        ('not (s == "y" and missing is not set)', True),
        ("not (missing is not set or s is set)", False),
        ('$event == "buy"', False),
        ("$event == 3", False),
        ('$distinct_id in ["bob", "cy"]', False),
        ('$insert_id == "x"', True),
        ('$insert_id == "y"', False),
        ("$time < 5", False),
        ("$time <= 5", True),
        ("$time != 5", False),
        ("not ($time <= 5)", False),
        ("$time > 1 and $time > 5", False),
        (f'$time == "{RFC}"', True),
        ('$time == "1970-01-01T00:00:00.006Z"', False),
        ("`$cohort:mine` == true", True),
        ("list contains 1", True),
    ],
)
def test_equality_presence_and_times_rule_rows_out(text: str, may: bool) -> None:
    assert may_be_true(parse(text), Known([ROW])) is may


@pytest.mark.parametrize(
    ("events", "may"), [((), True), (("view",), True), (("buy",), False), (("buy", HOT_EVENT), True)]
)
def test_rows_shown_as_others_are_told_by_their_names_alone(events: tuple[str, ...], may: bool) -> None:
    """They are counted as rewritten whatever their values; and as what they are shown they might be anything."""
    assert may_matter(RowsThatMatter(parse('s == "y"'), events), Known([ROW], has_hot_rows=True)) is may
    assert not may_matter(RowsThatMatter(parse('s == "y"'), events), Known([ROW]))
