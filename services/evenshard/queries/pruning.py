"""Decides whether rows can be passed over, by what is known of them without reading them. Pure.

A filter may come out true or false of some row, or neither can be ruled out; equality is what can be ruled out, all
other tests only where no row has the property, and those of times where all lie on one side. So an answer never
depends on it: see ``tests/property/queries/test_pruning_model.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import Final, assert_never

from evenshard.events.held import Held
from evenshard.events.limits import HOT_EVENT
from evenshard.queries.evaluate import literal_beside
from evenshard.queries.expression import COHORT_PREFIX
from evenshard.queries.expression_model import (
    All,
    Any,
    Comparison,
    Expression,
    Membership,
    Not,
    Operator,
    Presence,
    TextTest,
    Value,
)
from evenshard.queries.values import FIELD_OF_NAME

_TIME: Final = "$time"
_TESTS: Final[dict[Operator, Callable[[float, float], bool]]] = {
    "==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge,
}  # fmt: skip
_OPPOSITES: Final[dict[Operator, Operator]] = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


@dataclass(frozen=True, slots=True)
class RowsThatMatter:
    """A row for which ``condition`` is false, as it is shown, changes nothing in an answer."""

    condition: Expression
    events: tuple[str, ...]
    """All names an event may have that the condition selects, and whose rewritten rows are counted; none: any."""


def may_matter(rows: RowsThatMatter, held: Held) -> bool:
    """Whether one of the rows may change the answer. Where some are shown as others than they are, and are counted as
    rewritten whatever their values, only the names of events decide."""
    if held.has_hot_rows:
        names = rows.events
        return not names or HOT_EVENT in names or any(held.may_hold_field("event", name) for name in names)
    return may_be_true(rows.condition, held)


def may_be_true(expression: Expression, held: Held) -> bool:
    """Whether the expression may be true of a row."""
    match expression:
        case Comparison():
            return _may_compare(expression, held)
        case Membership(name=name, member=True, literals=literals):
            return any(_may_equal(name, literal, held) for literal in literals)
        case Membership(name=name) | TextTest(name=name):
            return _may_be_set(name, held)
        case Presence(name=name, is_set=is_set):
            return not is_set or _may_be_set(name, held)
        case Not(operand=operand):
            return may_be_false(operand, held)
        case All(operands=operands):
            return all(may_be_true(operand, held) for operand in operands)
        case Any(operands=operands):
            return any(may_be_true(operand, held) for operand in operands)
        case _:
            assert_never(expression)


def may_be_false(expression: Expression, held: Held) -> bool:
    """Whether the expression may be false of a row."""
    match expression:
        case Comparison(name=name, operator=operator) if name == _TIME:
            literal = literal_beside(name, expression.literal)
            if isinstance(literal, bool | str):
                return True
            return _some_time(_OPPOSITES[operator], literal, held)
        case Comparison() | Membership() | TextTest():
            return True
        case Presence(name=name, is_set=is_set):
            return is_set or _may_be_set(name, held)
        case Not(operand=operand):
            return may_be_true(operand, held)
        case All(operands=operands):
            return any(may_be_false(operand, held) for operand in operands)
        case Any(operands=operands):
            return all(may_be_false(operand, held) for operand in operands)
        case _:
            assert_never(expression)


def _may_be_set(name: str, held: Held) -> bool:
    is_property = name not in FIELD_OF_NAME and not name.startswith(COHORT_PREFIX)
    return held.may_have_property(name) if is_property else True


def _may_compare(comparison: Comparison, held: Held) -> bool:
    name, operator = comparison.name, comparison.operator
    literal = literal_beside(name, comparison.literal)
    if operator == "==":
        return _may_equal(name, literal, held)
    if name == _TIME:
        return not isinstance(literal, bool | str) and _some_time(operator, literal, held)
    if isinstance(literal, bool):
        return any(_TESTS[operator](value, literal) and _may_equal(name, value, held) for value in (False, True))
    return _may_be_set(name, held)


def _may_equal(name: str, literal: Value, held: Held) -> bool:
    literal = literal_beside(name, literal)
    if name.startswith(COHORT_PREFIX):
        return True
    if name == _TIME:
        return not isinstance(literal, bool | str) and _some_time("==", literal, held)
    if name in FIELD_OF_NAME:
        return isinstance(literal, str) and held.may_hold_field(FIELD_OF_NAME[name], literal)
    return held.may_hold_property(name, literal)


def _some_time(operator: Operator, literal: float, held: Held) -> bool:
    """Whether a time may be so: between the first and the last any may be."""
    first, last = held.times_ms
    match operator:
        case "==":
            return first <= literal <= last
        case "!=":
            return not first == literal == last
        case _:
            return _TESTS[operator](first, literal) or _TESTS[operator](last, literal)
