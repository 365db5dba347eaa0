"""A filter as a value: a small frozen tree, and the one text that is parsed back into it.

A comparison of a value that is not set, or of another type than the literal, is false, negative ones too: where ``x``
is not set, ``x != 3`` and ``x not in [3]`` are false and ``not (x == 3)`` is true.
"""

import json
import re
from dataclasses import dataclass
from typing import Final, Literal, assert_never, get_args

Value = str | bool | int | float
Operator = Literal["==", "!=", "<", "<=", ">", ">="]
OPERATORS: Final[tuple[Operator, ...]] = get_args(Operator)
Test = Literal["contains", "starts with", "matches"]
TESTS: Final[tuple[Test, ...]] = get_args(Test)
KEYWORDS: Final = frozenset(("and", "or", "not", "true", "false", "null"))
PLAIN_NAME: Final = r"(?:[^\W\d]|\$)[\w$.]*"
"""A name that needs no backticks, unless it is a keyword."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """``name operator literal``. Numbers compare by value, strings bytewise, false is less than true."""

    name: str
    operator: Operator
    literal: Value


@dataclass(frozen=True, slots=True)
class Membership:
    """``name in [literals]``, or ``not in``. False, ``not in`` too, where the value is of another type than every
    literal."""

    name: str
    member: bool
    literals: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class TextTest:
    """``name contains literal``, ``starts with`` or ``matches`` (RE2, anywhere in the text), by case.

    ``contains`` is true of a string that holds the literal, a string, and of an array one of whose elements equals it,
    of any type; the others are of strings only.
    """

    name: str
    test: Test
    literal: Value


@dataclass(frozen=True, slots=True)
class Presence:
    """``name is set``, or ``is not set``: absent and null are not set, ``""`` is."""

    name: str
    is_set: bool


@dataclass(frozen=True, slots=True)
class Not:
    operand: "Expression"


@dataclass(frozen=True, slots=True)
class All:
    """True where every operand is."""

    operands: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Any:
    """True where an operand is."""

    operands: tuple["Expression", ...]


Leaf = Comparison | Membership | TextTest | Presence
Expression = Leaf | Not | All | Any


def names_in(expression: Expression) -> frozenset[str]:
    """The properties an expression looks at."""
    match expression:
        case Comparison() | Membership() | TextTest() | Presence():
            return frozenset((expression.name,))
        case Not(operand=operand):
            return names_in(operand)
        case All(operands=operands) | Any(operands=operands):
            return frozenset().union(*map(names_in, operands))
        case _:
            assert_never(expression)


def to_text(expression: Expression) -> str:
    """The text of an expression; ``parse`` makes the same expression of it, and no other text comes out for that."""
    match expression:
        case Comparison(name=name, operator=operator, literal=literal):
            return f"{_name(name)} {operator} {_literal(literal)}"
        case Membership(name=name, member=member, literals=literals):
            return f"{_name(name)} {'in' if member else 'not in'} [{', '.join(map(_literal, literals))}]"
        case TextTest(name=name, test=test, literal=literal):
            return f"{_name(name)} {test} {_literal(literal)}"
        case Presence(name=name, is_set=is_set):
            return f"{_name(name)} {'is set' if is_set else 'is not set'}"
        case Not(operand=operand):
            return f"not {_within(operand, (All, Any))}"
        case All(operands=operands):
            return " and ".join(_within(operand, (All, Any)) for operand in operands)
        case Any(operands=operands):
            return " or ".join(_within(operand, (Any,)) for operand in operands)
        case _:
            assert_never(expression)


def _within(operand: Expression, looser: tuple[type[All] | type[Any], ...]) -> str:
    text = to_text(operand)
    return f"({text})" if isinstance(operand, looser) else text


def _name(name: str) -> str:
    if re.fullmatch(PLAIN_NAME, name) and name not in KEYWORDS:
        return name
    return "`" + name.replace("`", "``") + "`"


def _literal(literal: Value) -> str:
    return json.dumps(literal, ensure_ascii=False)
