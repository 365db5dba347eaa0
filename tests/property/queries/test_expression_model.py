"""Filters: what is printed is parsed back, and evaluation over columns equals evaluation row by row."""

import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from evenshard.errors import EvenshardError
from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import (
    All,
    Comparison,
    Expression,
    Membership,
    Not,
    Presence,
    TextTest,
    names_in,
    parse,
    to_text,
)
from evenshard.queries.expression import Any as AnyOf
from evenshard.queries.expression_model import OPERATORS
from evenshard.testing.reference import Row, compare
from evenshard.testing.scanned import event_record
from hypothesis import given, settings
from hypothesis import strategies as st

NUMBERS = [0, -1, 3, 3.0, 3.5, 0.1, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, -(2**63), 2.0**63, 1e300, -0.0]
NAMES = ["a", "b", "odd `name", "$event", "$distinct_id", "$time", "$insert_id"]
PATTERNS = ["", "^[0-9]+$", "ä|ue$", "(?i)VIEW", "."]
literals = st.one_of(
    st.sampled_from([*NUMBERS, 2**63, 2**70, 10**399, True, False, "", "3", "true", "view", "ä\n\"'\\", "ann", "x"]),
    st.integers(-(2**64), 2**64),
    st.floats(allow_nan=False, allow_infinity=False),
)
values = st.one_of(
    st.none(),
    st.sampled_from([*NUMBERS, True, False, "", "3", "true", "true blue", "Ää", "ä\n\"'\\", {"x": "y"}]),
    st.sampled_from([[], [1], [1.0, "ä"], ["3", True, None], [[3]], [2**53 + 1, "true"], ["\\", ""]]),
    st.integers(-(2**63), 2**63 - 1),
)
rows = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["view", "buy"]),
        "distinct_id": st.sampled_from(["", "ann"]),
        "time": st.sampled_from([3, 2**40]),
        "insert_id": st.sampled_from([None, "x", "y"]),
        "duplicate": st.just(False),
        "properties": st.dictionaries(st.sampled_from(["a", "b", "odd `name"]), values),
    }
)
comparisons = st.builds(Comparison, st.sampled_from(NAMES), st.sampled_from(OPERATORS), literals)
text_tests = st.one_of(
    st.builds(TextTest, st.sampled_from(NAMES), st.just("contains"), literals),
    st.builds(TextTest, st.sampled_from(NAMES), st.just("starts with"), st.sampled_from(["", "3", "ä", "tr", "x"])),
    st.builds(TextTest, st.sampled_from(NAMES), st.just("matches"), st.sampled_from(PATTERNS)),
)
presences = st.builds(Presence, st.sampled_from(NAMES), st.booleans())
memberships = st.builds(
    Membership, st.sampled_from(NAMES), st.booleans(), st.lists(literals, min_size=1, max_size=4).map(tuple)
)
expressions: st.SearchStrategy[Expression] = st.recursive(
    st.one_of(comparisons, memberships, text_tests, presences),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


def naive(expression: Expression, row: Row) -> bool:
    match expression:
        case Comparison(name=name, operator=operator, literal=literal):
            return compare(row, name, operator, literal)
        case TextTest(name=name, test=test, literal=literal):
            return compare(row, name, test, literal)
        case Presence(name=name, is_set=is_set):
            return compare(row, name, "is set" if is_set else "is not set")
        case Membership(name=name, member=member, literals=some):
            return compare(row, name, "in" if member else "not in", some)
        case Not(operand=operand):
            return not naive(operand, row)
        case All(operands=operands):
            return all(naive(operand, row) for operand in operands)
        case AnyOf(operands=operands):
            return any(naive(operand, row) for operand in operands)


def same(one: Expression, other: Expression) -> bool:
    """Equal, types of literals included (1 is True in Python)."""
    return repr(one) == repr(other)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(expressions)
def test_what_is_printed_is_parsed_back(expression: Expression) -> None:
    text = to_text(expression)
    assert same(parse(text), expression)
    assert to_text(parse(text)) == text


@settings(max_examples=250, deadline=None, print_blob=True)
@given(expressions, st.lists(rows, max_size=8), st.booleans(), st.booleans())
def test_evaluation_over_columns_equals_row_by_row(
    expression: Expression, some: list[Row], rest: bool, dictionaries: bool
) -> None:
    record = event_record(some, rest=rest, dictionaries=dictionaries)
    assert evaluate(expression, record).tolist() == [naive(expression, row) for row in some]


def test_and_binds_tighter_than_or_and_not_tighter_than_both() -> None:
    a, b, c = (Comparison(name, "==", 1) for name in "abc")
    assert parse("a == 1 or b == 1 and not c == 1") == AnyOf((a, All((b, Not(c)))))
    assert names_in(parse("a == 1 or b == 1 and not c == 1")) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("files >", 8, "a string in double quotes, a number, true or false is expected, not the end"),
        ("files >> 3", 8, "a string in double quotes, a number, true or false is expected, not >"),
        ("files => 3", 7, '"==" is expected, not "="'),
        ('ext conatins "x"', 5, '"contains" is expected, not "conatins"'),
        ('ext like "x"', 5, '"contains" is expected, not "like"'),
        ('ext starts "x"', 12, '"with" is expected after "starts", not "x"'),
        ("ext starts with 3", 17, "a string in double quotes is expected, not 3"),
        ("ext is nto set", 8, '"set" is expected after "is", not nto'),
        ("ext is not null", 12, '"set" is expected after "is not", not null'),
        ("ext matches 3", 13, "a string in double quotes is expected, not 3"),
        ('ext matches "a(b"', 15, "this regular expression is not one (RE2): missing ): a(b"),
        ('ext matches "ä\\"[x"', 17, "this regular expression is not one (RE2): missing ]: [x"),
        ('ext matches "\\u00e4\\\\1"', 20, "this regular expression is not one (RE2): invalid escape sequence: \\1"),
        ('ext matches "(?=x)"', 14, "this regular expression is not one (RE2): invalid perl operator: (?="),
        ('ext matches "(a|b){600}"', 19, "this regular expression is too large: its repetitions written out"),
        ('ext matches "((ab){10}){51}"', 24, "this regular expression is too large: its repetitions written out"),
        ('ext matches "' + "x" * 1001 + '"', 1014, "this regular expression is too large"),
        ('ext not contains "x"', 9, '"in" is expected after "not", not contains: write "not (… contains …)"'),
        ("a == 3 && b == 3", 8, "'&' is not expected here: write \"and\""),
        ("a == 3 OR b == 3", 8, '"and", "or" or the end is expected, not OR (write it "or")'),
        ("a == py", 6, 'a string in double quotes, a number, true or false is expected, not py: write "py"'),
        ("a == True", 6, "a string in double quotes, a number, true or false is expected, not True: write true"),
        ("ext in 1", 8, 'a list is expected, as ["a", 3], not 1'),
        ("ext in []", 9, "a string in double quotes, a number, true or false is expected, not ]"),
        ("ext in [1, 2", 13, '"," or "]" is expected, not the end'),
        ("ext in [1,, 2]", 11, "a string in double quotes, a number, true or false is expected, not ,"),
        ("ext in [null]", 9, "a comparison with null is never true"),
        ("ext in [" + "1," * 1000 + "1]", 2009, "a list has at most 1000 values"),
        ("ext not == 1", 9, '"in" is expected after "not", not =='),
        ("ext", 4, 'an operator is expected ("==", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", '),
        ("`$cohort:` == true", 1, "the name of a cohort is missing"),
        ("a == null", 6, "a comparison with null is never true"),
        ("a = 3", 3, '"==" is expected, not "="'),
        ("a == 'x'", 6, '"\'" is not expected here'),
        ('a == "x', 6, "this string does not end"),
        ('a == "\\x"', 6, "this string does not end, or holds a wrong escape"),
        ('a == "\\ud800"', 6, "this string holds a lone surrogate"),
        ("a == 1e999", 6, "this number is too large"),
        ("a == " + "9" * 5000, 6, "this number is too large"),
        ("a == 03", 6, "'0' is not expected here"),
        ("(a == 3", 8, '")" is expected, not the end'),
        ("a == 3)", 7, '"and", "or" or the end is expected, not )'),
        ("a == 3 b == 4", 8, '"and", "or" or the end is expected, not b'),
        ("a == 3 and", 11, "the name of a property is expected, not the end"),
        ("not", 4, "the name of a property is expected, not the end"),
        ("3 == a", 1, "the name of a property is expected, not 3"),
        ("(" * 101 + "a == 1", 101, "nested deeper than 100"),
        ("(" * 1000 + "a == 1" + ")" * 1000, 101, "nested deeper than 100"),
        ("not (" * 3000 + "a == 1" + ")" * 3000, 251, "nested deeper than 100"),
        ("not " * 101 + "a == 1", 401, "nested deeper than 100"),
    ],
)
def test_an_error_points_at_the_character(text: str, position: int, says: str) -> None:
    with pytest.raises(EvenshardError) as failed:
        parse(text)
    error = failed.value
    assert error.code == "QUERY_INVALID"
    assert error.message.startswith(f"where, character {position}: {says}"), error.message
    shown, caret = error.hint.split("\n")
    pointed = shown[len(caret) - 1 : len(caret)]
    assert pointed == text[position - 1 : position]


@pytest.mark.parametrize("pattern", ["(a+a+)+c", "(a*)*c", "(x+x+)+y", "(.*a){300}c$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_a_catastrophic_pattern_takes_no_longer_than_the_text_is_long(pattern: str) -> None:
    record = event_record([_row({"x": "a" * 50_000})] * 4, dictionaries=True)
    started = time.process_time()
    assert evaluate(parse(f'x matches "{pattern}"'), record).tolist() == [False] * 4
    assert time.process_time() - started < 5  # a backtracking engine takes longer than the world has been there


def test_a_distinct_value_is_tested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[int] = []

    def counting(values: pa.Array, literal: str) -> pa.Array:
        tested.append(len(values))
        return pc.match_substring(values, literal)

    from evenshard.queries import evaluate as module

    monkeypatch.setattr(module.pc, "match_substring_regex", counting)
    record = event_record([_row({"x": "ab"[at % 2]}) for at in range(100)], dictionaries=True)
    assert evaluate(TextTest("x", "matches", "a"), record).tolist() == [True, False] * 50
    assert tested == [2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('$time >= "2024-01-01T00:00:00Z"', [False, True, True]),
        ('$time == "2024-01-01T01:00:00.0009+01:00"', [False, True, False]),
        ('$time in ["2024-01-01T00:00:00.001Z", 1704067199999]', [True, False, True]),
        ('not ($time == "yesterday")', [True, True, True]),
        ('$time != "2024-01-01"', [False, False, False]),
        ('$time > "2024-01-01T00:00:00"', [False, False, False]),
    ],
)
def test_times_compare_with_rfc_3339_and_other_strings_are_of_another_type(text: str, expected: list[bool]) -> None:
    record = event_record([{**_row({}), "time": 1_704_067_200_000 + at} for at in (-1, 0, 1)])
    assert evaluate(parse(text), record).tolist() == expected


def test_deep_but_allowed_nesting_is_evaluated() -> None:
    text = "not (" * 50 + "a == 1" + ")" * 50
    record = event_record([_row({"a": 1}), _row({})])
    assert evaluate(parse(text), record).tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x == 3", [True, True, False, False, False, False, False]),
        ("x == 3.0", [True, True, False, False, False, False, False]),
        ("x == 3.5", [False, False, True, False, False, False, False]),
        ("x == 9007199254740992", [False, False, False, False, True, False, False]),
        ("x == 9007199254740992.0", [False, False, False, False, True, False, False]),
        ("x == 9007199254740993", [False, False, False, True, False, False, False]),
        ("x != 9007199254740993", [True, True, True, False, True, False, False]),
        ("x != 1e300", [True, True, True, True, True, False, False]),
        ("x == true", [False, False, False, False, False, True, False]),
        ('x == "3"', [False, False, False, False, False, False, True]),
        ('x != "4"', [False, False, False, False, False, False, True]),
        ("x in [3, 3.5]", [True, True, True, False, False, False, False]),
        ("x not in [3, 3.5]", [False, False, False, True, True, False, False]),
        ('x in ["3", 3, true]', [True, True, False, False, False, True, True]),
        ('x not in ["4", 3]', [False, False, True, True, True, False, True]),
    ],
)
def test_numbers_compare_by_value_and_types_apart(text: str, expected: list[bool]) -> None:
    record = event_record([_row({"x": value}) for value in (3, 3.0, 3.5, 2**53 + 1, float(2**53), True, "3")])
    assert evaluate(parse(text), record).tolist() == expected


@pytest.mark.parametrize("operator", OPERATORS)
def test_numbers_around_the_places_where_doubles_end_compare_exactly(operator: str) -> None:
    some: list[int | float] = [2**53, 2**53 + 1, 2**53 + 3, 2**63 - 1, -(2**63)]
    some += [float(2**53), float(2**53 + 4), 2.0**63, -(2.0**63), -(2.0**63) - 2048.0, 0.5, -0.5]
    rows = [_row({"x": value}) for value in some]
    for literal in [*some, 2**63, 2**64 + 1, -(2**63) - 1, 10**390, -(10**390)]:
        expected = [compare(row, "x", operator, literal) for row in rows]
        assert evaluate(parse(f"x {operator} {literal}"), event_record(rows)).tolist() == expected, literal


def test_not_set_is_unequal_to_nothing() -> None:
    record = event_record([_row({}), _row({"x": None}), _row({"x": "3"}), _row({"x": 4}), _row({"x": 3})])
    assert evaluate(parse("x != 3"), record).tolist() == [False, False, False, True, False]
    assert evaluate(parse("not (x == 3)"), record).tolist() == [True, True, True, True, False]


def _row(properties: dict[str, Any]) -> Row:
    return {
        "event": "view", "distinct_id": "ann", "time": 1, "insert_id": None, "duplicate": False,
        "properties": properties,
    }  # fmt: skip
