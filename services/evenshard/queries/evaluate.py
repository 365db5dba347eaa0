"""Evaluates a filter over the columns of a record batch, one vectorised step for each test; where a column is
dictionary-encoded each distinct value is tested once.

A test of a value that is not set, or of another type than the literal, is false, ``!=`` too (SEMANTICS §4). ``$time``
is a number, ms since the epoch; a string that is a time in RFC 3339 stands for its ms there, any other is of another
type. ``$distinct_id`` of an anonymous event is set: it is ``""``.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import assert_never

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import PropertyType
from evenshard.queries.compare import compare_numbers, compare_texts, equal_in_json
from evenshard.queries.expression_model import (
    All,
    Any,
    Comparison,
    Expression,
    Membership,
    Not,
    Presence,
    TextTest,
    Value,
)
from evenshard.queries.values import columns_of, encoded

Mask = npt.NDArray[np.bool_]
Tester = Callable[[PropertyType, pa.Array], pa.Array | None]
"""Whether each value of a type passes; None: none does. Null, where a value is null, is false."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE_CHARACTERS = len("YYYY-MM-DD")


def evaluate(expression: Expression, record: pa.RecordBatch) -> Mask:
    """For each row whether ``expression`` is true. ``record`` has the columns of every property it names."""
    match expression:
        case Comparison(name=name):
            return _tested(record, name, _comparison(expression))
        case Membership(name=name):
            return _tested(record, name, _membership(expression))
        case TextTest(name=name):
            return _tested(record, name, _text_test(expression))
        case Presence(name=name, is_set=is_set):
            present = _tested(record, name, lambda kind, values: values.is_valid())
            return present if is_set else ~present
        case Not(operand=operand):
            return ~evaluate(operand, record)
        case All(operands=operands):
            every: Mask = np.logical_and.reduce([evaluate(operand, record) for operand in operands])
            return every
        case Any(operands=operands):
            some: Mask = np.logical_or.reduce([evaluate(operand, record) for operand in operands])
            return some
        case _:
            assert_never(expression)


def _tested(record: pa.RecordBatch, name: str, passes: Tester) -> Mask:
    """Rows whose value of the property passes."""
    result = np.zeros(record.num_rows, np.bool_)
    for column in columns_of(record, name):
        if pa.types.is_dictionary(column.values.type) or column.kind == "j":
            codes, distinct = encoded(column.values)
            passed = passes(column.kind, distinct)
            if passed is not None:
                result |= np.append(_bools(passed), False)[codes]
        else:
            passed = passes(column.kind, column.values)
            if passed is not None:
                result |= _bools(passed)
    return result


def _comparison(comparison: Comparison) -> Tester:
    operator = comparison.operator
    literal = literal_beside(comparison.name, comparison.literal)

    def passes(kind: PropertyType, values: pa.Array) -> pa.Array | None:
        match literal:
            case bool() if kind == "b":
                return compare_texts(values, operator, literal)
            case str() if kind == "s":
                return compare_texts(values, operator, literal)
            case int() | float() if kind in ("i", "d") and not isinstance(literal, bool):
                return compare_numbers(values, operator, literal)
        return None

    return passes


def _membership(membership: Membership) -> Tester:
    literals = [literal_beside(membership.name, literal) for literal in membership.literals]

    def passes(kind: PropertyType, values: pa.Array) -> pa.Array | None:
        mine = [literal for literal in literals if kind in _kinds_of(literal)]
        if not mine:
            return None
        if kind == "s":
            found = pc.is_in(values, value_set=pa.array(mine, values.type))
        elif kind == "b":
            found = pc.is_in(values, value_set=pa.array(mine, pa.bool_()))
        else:
            equal = [_bools(compare_numbers(values, "==", literal)) for literal in mine if not isinstance(literal, str)]
            found = pa.array(np.logical_or.reduce(equal))
        return pc.and_(values.is_valid(), found if membership.member else pc.invert(found))

    return passes


def _text_test(test: TextTest) -> Tester:
    literal = test.literal

    def passes(kind: PropertyType, values: pa.Array) -> pa.Array | None:
        if kind == "j":
            return equal_in_json(values, literal) if test.test == "contains" else None
        if kind != "s" or not isinstance(literal, str):
            return None
        match test.test:
            case "contains":
                return pc.match_substring(values, literal)
            case "starts with":
                return pc.starts_with(values, literal)
            case "matches":
                return pc.match_substring_regex(values, literal)
            case _:
                assert_never(test.test)

    return passes


def _kinds_of(literal: Value) -> tuple[PropertyType, ...]:
    """The column types whose values are of the literal's type."""
    match literal:
        case bool():
            return ("b",)
        case str():
            return ("s",)
    return ("i", "d")


def literal_beside(name: str, literal: Value) -> Value:
    """What the literal stands for beside this property: times in RFC 3339 are ms beside ``$time``."""
    if name != "$time" or not isinstance(literal, str):
        return literal
    try:
        moment = datetime.fromisoformat(literal)
    except ValueError:
        return literal
    if moment.tzinfo is None or len(literal) <= _DATE_CHARACTERS:
        return literal
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _bools(values: pa.Array) -> Mask:
    """As numpy, null as false."""
    result: Mask = values.fill_null(False).to_numpy(zero_copy_only=False)
    return result
