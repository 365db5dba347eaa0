"""Evaluates a filter over the columns of a record batch, one vectorised step for each comparison.

Numbers compare by value, exactly, also an int64 beyond 2^53 with a double. A comparison of a value that is not set, or
of another type than the literal, is false, ``!=`` too (SEMANTICS §4).
"""

from typing import assert_never

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.batch import PropertyType
from evenshard.queries.expression import All, Any, Comparison, Expression, Literal, Membership, Not
from evenshard.queries.values import TypedColumn, columns_of, encoded

Mask = npt.NDArray[np.bool_]


def evaluate(expression: Expression, record: pa.RecordBatch) -> Mask:
    """For each row whether ``expression`` is true. ``record`` has the columns of every property it names."""
    match expression:
        case Comparison():
            return _compare(expression, record)
        case Membership():
            return _is_member(expression, record)
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


def _compare(comparison: Comparison, record: pa.RecordBatch) -> Mask:
    result = np.zeros(record.num_rows, np.bool_)
    kinds = _kinds_of(comparison.literal)
    for column in columns_of(record, comparison.name):
        if column.kind in kinds:
            result |= _equal(column, comparison.literal) if comparison.equal else _unequal(column, comparison.literal)
    return result


def _is_member(membership: Membership, record: pa.RecordBatch) -> Mask:
    result = np.zeros(record.num_rows, np.bool_)
    for column in columns_of(record, membership.name):
        literals = [literal for literal in membership.literals if column.kind in _kinds_of(literal)]
        if not literals:
            continue
        if column.kind == "s":
            codes, dictionary = encoded(column.values)
            matches = _bools(pc.is_in(dictionary, value_set=pa.array(literals, dictionary.type)))
            equal = np.append(matches, False)[codes]
        else:
            equal = np.logical_or.reduce([_equal(column, literal) for literal in literals])
        result |= equal if membership.member else _bools(column.values.is_valid()) & ~equal
    return result


def _kinds_of(literal: Literal) -> tuple[PropertyType, ...]:
    """The column types whose values are of the literal's type."""
    match literal:
        case bool():
            return ("b",)
        case str():
            return ("s",)
    return ("i", "d")


def _unequal(column: TypedColumn, literal: Literal) -> Mask:
    return _bools(column.values.is_valid()) & ~_equal(column, literal)


def _equal(column: TypedColumn, literal: Literal) -> Mask:
    """Rows that hold exactly ``literal``, which is of the column's type, or a number if it is one of numbers."""
    values = column.values
    match column.kind, literal:
        case "i", float() | int():
            exact: Literal | None = _as_int64(literal)
        case "d", float() | int():
            exact = _as_double(literal)
        case _:
            exact = literal
    if exact is None:
        return np.zeros(len(values), np.bool_)
    if not pa.types.is_dictionary(values.type):
        return _bools(pc.equal(values, pa.scalar(exact, values.type)))
    codes, dictionary = encoded(values)
    matches = _bools(pc.equal(dictionary, pa.scalar(exact, dictionary.type)))
    return np.append(matches, False)[codes]


def _as_int64(literal: float) -> int | None:
    """The int64 of the same value; None where there is none."""
    if literal != literal // 1 or not -(2**63) <= literal < 2**63:
        return None
    return int(literal)


def _as_double(literal: float) -> float | None:
    """The double of the same value; None where there is none."""
    try:
        double = float(literal)
    except OverflowError:
        return None
    return double if double == literal else None


def _bools(values: pa.Array) -> Mask:
    """As numpy, null as false."""
    result: Mask = values.fill_null(False).to_numpy(zero_copy_only=False)
    return result
