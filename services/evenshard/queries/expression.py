"""The filter language: text in, a small tree out, or an error that points at the character that is wrong.

expression = conjunction ("or" conjunction)*
conjunction = negation ("and" negation)*
negation = "not" negation | "(" expression ")" | test
test = name ("==" | "!=" | "<" | "<=" | ">" | ">=") literal | name "not"? "in" "[" literal, … "]"
     | name "contains" literal | name "starts" "with" string | name "matches" string | name "is" "not"? "set"
name = letters, digits, "_", "$", "."   or anything in backticks (a backtick is doubled)
literal = string | a number (as in JSON) | true | false
string = in double quotes, escapes as in JSON
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NoReturn

from evenshard.errors import EvenshardError, FieldFault
from evenshard.queries.expression_model import (
    KEYWORDS,
    OPERATORS,
    PLAIN_NAME,
    All,
    Any,
    Comparison,
    Expression,
    Leaf,
    Membership,
    Not,
    Presence,
    TextTest,
    Value,
    names_in,
    to_text,
)
from evenshard.queries.patterns import fault_of_pattern

__all__ = [
    "All",
    "Any",
    "Comparison",
    "Expression",
    "Leaf",
    "Membership",
    "Not",
    "Presence",
    "TextTest",
    "Value",
    "check_name",
    "names_in",
    "parse",
    "to_text",
]

COHORT_PREFIX = "$cohort:"
"""Before the name of a cohort: whether the event's user belongs to it, as a bool."""
NESTING_MAX = 100
LENGTH_MAX = 20_000
"""Characters."""
LIST_MAX = 1_000
"""Literals of a list."""
INTEGER_DIGITS_MAX = 400
"""Longer ones are beyond every double, and too large."""

_TOKEN = re.compile(
    rf"""
    (?P<string>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{{4}}))*")
  | (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.$]))
  | (?P<quoted>`(?:[^`]|``)+`)
  | (?P<name>{PLAIN_NAME})
  | (?P<symbol>==|!=|<=|>=|[<>()\[\],=])
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*")
_ESCAPE = re.compile(r"(?:\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|\\u[0-9a-f]{4}|\\.|.)", re.IGNORECASE | re.DOTALL)
"""What stands in a string for one character of its value."""
_WORDS: Final = ("in", "not in", "contains", "starts with", "matches", "is set", "is not set")
_OPERATORS = ", ".join(f'"{each}"' for each in (*OPERATORS, *_WORDS[:-1])) + f' or "{_WORDS[-1]}"'
_MEANT: Final = {
    "=": "==", "<>": "!=", "eq": "==", "equals": "==", "has": "contains", "includes": "contains", "like": "contains",
    "startswith": "starts with", "starts_with": "starts with", "begins": "starts with", "regex": "matches",
    "exists": "is set", "null": "is not set", "isset": "is set",
}  # fmt: skip
"""What other languages call it."""
_STRAY: Final = {
    '"': "this string does not end, or holds a wrong escape",
    "`": "this name does not end",
    "'": '"\'" is not expected here: a string stands in double quotes',
    "&": "'&' is not expected here: write \"and\"",
    "|": "'|' is not expected here: write \"or\"",
    "!": "'!' is not expected here: write \"not\"",
    "~": "'~' is not expected here: write \"matches\"",
}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """string, number, name, quoted, symbol, keyword or end."""
    text: str
    at: int


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
            self.fail(_STRAY.get(self.text[at], f"{self.text[at]!r} is not expected here"), at)
        kind = str(found.lastgroup)
        if kind == "name" and found[0] in KEYWORDS:
            kind = "keyword"
        self.token = _Token(kind, found[0], at)

    def take(self) -> _Token:
        token = self.token
        self.advance(token.at + len(token.text) if token.kind != "end" else token.at)
        return token

    def at_word(self, *words: str) -> bool:
        return self.token.kind in ("symbol", "keyword") and self.token.text in words

    def at_name(self, *words: str) -> bool:
        """At a word that is an operator behind a name, and a name elsewhere."""
        return self.token.kind == "name" and self.token.text in words

    def whole(self) -> Expression:
        tree = self.alternatives()
        if self.token.kind != "end":
            lower = self.token.text.lower()
            meant = f' (write it "{lower}")' if lower in ("and", "or") else ""
            self.fail(f'"and", "or" or the end is expected, not {self.token.text}{meant}')
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
            return self.test()
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

    def test(self) -> Leaf:
        if self.token.kind not in ("name", "quoted"):
            self.fail(f"the name of a property is expected, not {self.token.text}")
        at = self.token.at
        token = self.take()
        name = token.text if token.kind == "name" else token.text[1:-1].replace("``", "`")
        check_name(name, lambda problem: self.fail(problem, at))
        for operator in OPERATORS:
            if self.at_word(operator):
                self.take()
                return Comparison(name, operator, self.literal())
        if self.at_name("contains"):
            self.take()
            return TextTest(name, "contains", self.literal())
        if self.at_name("matches"):
            self.take()
            return TextTest(name, "matches", self.pattern())
        if self.at_name("starts"):
            self.take()
            self.expect_name("with", "starts")
            return TextTest(name, "starts with", self.string())
        if self.at_name("is"):
            self.take()
            is_set = not self.at_word("not")
            if not is_set:
                self.take()
            self.expect_name("set", "is" if is_set else "is not")
            return Presence(name, is_set)
        return self.membership(name)

    def membership(self, name: str) -> Membership:
        negated = self.at_word("not")
        if negated:
            self.take()
        if not self.at_name("in"):
            self.fail_at_operator(negated)
        self.take()
        return Membership(name, not negated, self.literals())

    def expect_name(self, word: str, after: str) -> None:
        if not self.at_name(word):
            self.fail(f'"{word}" is expected after "{after}", not {self.token.text}')
        self.take()

    def fail_at_operator(self, negated: bool) -> NoReturn:
        word = self.token.text
        if negated:
            why = f': write "not (… {word} …)"' if word in ("contains", "starts", "matches") else ""
            self.fail(f'"in" is expected after "not", not {word}{why}')
        lower = word.lower()
        near = [_MEANT[lower]] if lower in _MEANT else get_close_matches(lower, _WORDS, 1)
        if near and self.token.kind != "end":
            self.fail(f'"{near[0]}" is expected, not "{word}"')
        self.fail(f"an operator is expected ({_OPERATORS}), not {word}")

    def literals(self) -> tuple[Value, ...]:
        """``[literal, …]``, at least one."""
        if not self.at_word("["):
            self.fail(f'a list is expected, as ["a", 3], not {self.token.text}')
        found: list[Value] = []
        while not found or self.at_word(","):
            self.take()
            if len(found) == LIST_MAX:
                self.fail(f"a list has at most {LIST_MAX} values")
            found.append(self.literal())
        if not self.at_word("]"):
            self.fail(f'"," or "]" is expected, not {self.token.text}')
        self.take()
        return tuple(found)

    def literal(self) -> Value:
        text = self.token.text
        match self.token.kind, text:
            case "string", _:
                return self.string()
            case "number", _:
                value = float(text) if re.search("[.eE]", text) or len(text) > INTEGER_DIGITS_MAX else int(text)
                if value in (float("inf"), float("-inf")):
                    self.fail("this number is too large")
            case "keyword", "true" | "false":
                value = text == "true"
            case "keyword", "null":
                self.fail('a comparison with null is never true: write "is set" or "is not set"')
            case "name", _:
                meant = text.lower() if text.lower() in ("true", "false") else f'"{text}"'
                self.fail(f"a string in double quotes, a number, true or false is expected, not {text}: write {meant}")
            case _:
                self.fail(f"a string in double quotes, a number, true or false is expected, not {text}")
        self.take()
        return value

    def string(self) -> str:
        if self.token.kind != "string":
            self.fail(f"a string in double quotes is expected, not {self.token.text}")
        value: str = json.loads(self.token.text)
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail("this string holds a lone surrogate")
        self.take()
        return value

    def pattern(self) -> str:
        token = self.token
        pattern = self.string()
        fault = fault_of_pattern(pattern)
        if fault is not None:
            written = _ESCAPE.findall(token.text[1:-1])
            self.fail(fault.problem, token.at + 1 + sum(map(len, written[: fault.at])))
        return pattern


def check_name(name: str, fail: Callable[[str], NoReturn]) -> None:
    """Calls ``fail`` for names that look like properties but are not."""
    if name == COHORT_PREFIX:
        fail("the name of a cohort is missing")
