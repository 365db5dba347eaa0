"""The filter language: text in, a small tree out, or an error that points at the character that is wrong.

expression = conjunction ("or" conjunction)*
conjunction = negation ("and" negation)*
negation = "not" negation | "(" expression ")" | name ("==" | "!=") literal | name "not"? "in" "[" literal, … "]"
name = letters, digits, "_", "$", "."   or anything in backticks (a backtick is doubled)
literal = a string in double quotes (escapes as in JSON) | a number (as in JSON) | true | false
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from evenshard.errors import EvenshardError, FieldFault

NESTING_MAX = 100
LENGTH_MAX = 20_000
"""Characters."""
LIST_MAX = 1_000
"""Literals of a list."""
INTEGER_DIGITS_MAX = 400
"""Longer ones are beyond every double, and too large."""

Literal = str | bool | int | float


@dataclass(frozen=True, slots=True)
class Comparison:
    """``name == literal``, or ``!=``. False where the value is not set or of another type than the literal."""

    name: str
    equal: bool
    literal: Literal


@dataclass(frozen=True, slots=True)
class Membership:
    """``name in [literals]``, or ``not in``. False, ``not in`` too, where the value is not set or of another type than
    every literal."""

    name: str
    member: bool
    literals: tuple[Literal, ...]


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


Expression = Comparison | Membership | Not | All | Any

_TOKEN = re.compile(
    r"""
    (?P<string>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")
  | (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.$]))
  | (?P<quoted>`(?:[^`]|``)+`)
  | (?P<name>(?:[^\W\d]|\$)[\w$.]*)
  | (?P<symbol>==|!=|<=|>=|[<>()\[\],=])
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*")
_KEYWORDS = frozenset(("and", "or", "not", "true", "false", "null"))
_LATER = frozenset(("<", "<=", ">", ">=", "contains", "starts", "matches", "is"))
_OPERATORS = '"==", "!=", "in" and "not in"'


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """string, number, name, quoted, symbol, keyword or end."""
    text: str
    at: int


def names_in(expression: Expression) -> frozenset[str]:
    """The properties an expression looks at."""
    match expression:
        case Comparison(name=name) | Membership(name=name):
            return frozenset((name,))
        case Not(operand=operand):
            return names_in(operand)
        case All(operands=operands) | Any(operands=operands):
            return frozenset().union(*map(names_in, operands))


def parse(text: str, field: str = "where") -> Expression:
    """The tree of ``text``. Raises ``QUERY_INVALID`` naming ``field``; its hint shows the place."""
    if len(text) > LENGTH_MAX:
        problem = f"a filter has at most {LENGTH_MAX} characters, not {len(text)}"
        raise EvenshardError("QUERY_INVALID", f"{field}: {problem}", fields=(FieldFault(field, problem),))
    return _Parser(text, field).whole()


class _Parser:
    """Recursive descent over one text."""

    def __init__(self, text: str, field: str) -> None:
        self.text = text
        self.field = field
        self.depth = 0
        self.token = _Token("end", "", 0)
        self.advance(0)

    def fail(self, problem: str, at: int | None = None) -> NoReturn:
        at = self.token.at if at is None else at
        first = max(0, at - 40)
        shown = re.sub(r"\s", " ", self.text[first : at + 40])
        raise EvenshardError(
            "QUERY_INVALID",
            f"{self.field}, character {at + 1}: {problem}",
            hint=f"{shown}\n{' ' * (at - first)}^",
            fields=(FieldFault(self.field, problem),),
        )

    def advance(self, at: int) -> None:
        """Reads the token that begins at ``at``, or after the space there."""
        space = _SPACE.match(self.text, at)
        at = space.end() if space else at
        if at == len(self.text):
            self.token = _Token("end", "the end", at)
            return
        found = _TOKEN.match(self.text, at)
        if found is None:
            problems = {'"': "this string does not end, or holds a wrong escape", "`": "this name does not end"}
            self.fail(problems.get(self.text[at], f"{self.text[at]!r} is not expected here"), at)
        kind = str(found.lastgroup)
        if kind == "name" and found[0] in _KEYWORDS:
            kind = "keyword"
        self.token = _Token(kind, found[0], at)

    def take(self) -> _Token:
        token = self.token
        self.advance(token.at + len(token.text) if token.kind != "end" else token.at)
        return token

    def at_word(self, *words: str) -> bool:
        return self.token.kind in ("symbol", "keyword") and self.token.text in words

    def whole(self) -> Expression:
        tree = self.alternatives()
        if self.token.kind != "end":
            self.fail(f'"and", "or" or the end is expected, not {self.token.text}')
        return tree

    def alternatives(self) -> Expression:
        operands = [self.conjunction()]
        while self.at_word("or"):
            self.take()
            operands.append(self.conjunction())
        return operands[0] if len(operands) == 1 else Any(tuple(operands))

    def conjunction(self) -> Expression:
        operands = [self.negation()]
        while self.at_word("and"):
            self.take()
            operands.append(self.negation())
        return operands[0] if len(operands) == 1 else All(tuple(operands))

    def negation(self) -> Expression:
        if not self.at_word("not", "("):
            return self.comparison()
        self.depth += 1
        if self.depth > NESTING_MAX:
            self.fail(f"nested deeper than {NESTING_MAX}")
        tree: Expression
        if self.take().text == "not":
            tree = Not(self.negation())
        else:
            tree = self.alternatives()
            if not self.at_word(")"):
                self.fail(f'")" is expected, not {self.token.text}')
            self.take()
        self.depth -= 1
        return tree

    def comparison(self) -> Expression:
        if self.token.kind not in ("name", "quoted"):
            self.fail(f"the name of a property is expected, not {self.token.text}")
        at = self.token.at
        token = self.take()
        name = token.text if token.kind == "name" else token.text[1:-1].replace("``", "`")
        check_name(name, lambda problem: self.fail(problem, at))
        if self.at_word("==", "!="):
            return Comparison(name, self.take().text == "==", self.literal())
        negated = self.at_word("not")
        if negated:
            self.take()
        if self.token.kind != "name" or self.token.text != "in":
            self.fail_at_operator(negated)
        self.take()
        return Membership(name, not negated, self.literals())

    def fail_at_operator(self, negated: bool) -> NoReturn:
        word = self.token.text
        if negated:
            self.fail(f'"in" is expected after "not", not {word}')
        if word in _LATER and self.token.kind in ("symbol", "name"):
            self.fail(f'the operator "{word}" is not delivered yet; there are {_OPERATORS}')
        self.fail('"==" is expected, not "="' if word == "=" else f"one of {_OPERATORS} is expected, not {word}")

    def literals(self) -> tuple[Literal, ...]:
        """``[literal, …]``, at least one."""
        if not self.at_word("["):
            self.fail(f'a list is expected, as ["a", 3], not {self.token.text}')
        found: list[Literal] = []
        while not found or self.at_word(","):
            self.take()
            if len(found) == LIST_MAX:
                self.fail(f"a list has at most {LIST_MAX} values")
            found.append(self.literal())
        if not self.at_word("]"):
            self.fail(f'"," or "]" is expected, not {self.token.text}')
        self.take()
        return tuple(found)

    def literal(self) -> Literal:
        text = self.token.text
        match self.token.kind, text:
            case "string", _:
                try:
                    value: Literal = json.loads(text)
                    str(value).encode()
                except UnicodeEncodeError:
                    self.fail("this string holds a lone surrogate")
            case "number", _:
                value = float(text) if re.search("[.eE]", text) or len(text) > INTEGER_DIGITS_MAX else int(text)
                if value in (float("inf"), float("-inf")):
                    self.fail("this number is too large")
            case "keyword", "true" | "false":
                value = text == "true"
            case "keyword", "null":
                self.fail("a comparison with null is never true; there is no test for unset properties yet")
            case _:
                self.fail(f"a string in double quotes, a number, true or false is expected, not {text}")
        self.take()
        return value


def check_name(name: str, fail: Callable[[str], NoReturn]) -> None:
    """Calls ``fail`` for names that look like properties but are not."""
    if name.startswith("$cohort:"):
        fail("cohorts are not delivered yet")
