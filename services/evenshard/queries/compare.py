"""Compares the values of one column with a literal, exactly: an int64 beyond 2^53 with a double too. Null stays so."""

import math
from fractions import Fraction
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.queries.expression_model import Operator, Value

_FUNCTIONS: Final = {
    "==": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


def compare_texts(values: pa.Array, operator: Operator, literal: str | bool) -> pa.Array:
    """Strings (bytewise) and bools (false first)."""
    return _FUNCTIONS[operator](values, pa.scalar(literal, values.type))


def compare_numbers(values: pa.Array, operator: Operator, literal: float) -> pa.Array:
    """``values``: int64 or float64; ``literal`` is finite, and an int may be of any size."""
    if pa.types.is_integer(values.type):
        return _compare_integers(values, operator, literal)
    return _compare_doubles(values, operator, literal)


def _compare_integers(values: pa.Array, operator: Operator, literal: float) -> pa.Array:
    whole = math.floor(literal)
    if whole != literal:
        match operator:
            case "==" | "!=":
                return _all(values, operator == "!=")
            case "<" | "<=":
                operator = "<="
            case _:
                operator = ">"
    if whole > _INT64_MAX:
        return _all(values, operator in ("<", "<=", "!="))
    if whole < _INT64_MIN:
        return _all(values, operator in (">", ">=", "!="))
    return _FUNCTIONS[operator](values, pa.scalar(whole, pa.int64()))


def _compare_doubles(values: pa.Array, operator: Operator, literal: float) -> pa.Array:
    """An integer that is no double lies between two of them: it compares as one of them does, never as equal."""
    try:
        near = float(literal)
    except OverflowError:
        near = math.inf if literal > 0 else -math.inf
    above = (math.isinf(near) and near > 0) or (not math.isinf(near) and Fraction(near) > Fraction(literal))
    if near != literal:
        match operator:
            case "==" | "!=":
                return _all(values, operator == "!=")
            case "<" | "<=":
                operator = "<" if above else "<="
            case _:
                operator = ">=" if above else ">"
    return _FUNCTIONS[operator](values, pa.scalar(near, pa.float64()))


def _all(values: pa.Array, answer: bool) -> pa.Array:
    """The same answer for every value that is set."""
    return values.is_valid() if answer else pc.and_(values.is_valid(), False)


def equal_in_json(texts: pa.Array, literal: Value) -> pa.Array:
    """Whether each JSON text (utf8) is an array one of whose elements equals the literal. One step in Python for each
    text, which are distinct ones."""

    def holds(text: str | None) -> bool:
        found = None if text is None else orjson.loads(text)
        return isinstance(found, list) and any(_same(element, literal) for element in found)

    return pa.array(map(holds, texts.to_pylist()), pa.bool_())


def _same(element: object, literal: Value) -> bool:
    """Equal by value and of one type: 3 is 3.0 and neither is true nor ``"3"``."""
    if isinstance(element, bool) or isinstance(literal, bool):
        return element is literal
    if isinstance(element, int | float) and isinstance(literal, int | float):
        return element == literal
    return isinstance(element, str) and element == literal
