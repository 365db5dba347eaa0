"""A name that no row had which was read is sought in what was passed over, where it may be, and no further."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evenshard.events.scan import Part, PassedOver
from evenshard.queries.names import Names, Watch
from evenshard.testing.scanned import scanned_rows


@dataclass(frozen=True)
class Held:
    """May have these names."""

    names: frozenset[str]
    has_hot_rows: bool = False
    times_ms: tuple[int, int] = (0, 1)

    def may_hold_field(self, field: str, text: str) -> bool:
        return field == "event" and text in self.names

    def may_hold_property(self, name: str, value: str | bool | float) -> bool:
        raise AssertionError("values are of no interest")

    def may_have_property(self, name: str) -> bool:
        return name in self.names


class Files:
    """Files that were passed over, each with one row."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def one(
        self, name: str, may_have: str, event: str, properties: dict[str, object], *, hot: bool = False
    ) -> PassedOver:
        def parts() -> Sequence[Part]:
            self.read.append(name)
            row = {
                "event": event, "distinct_id": "ann", "time": 5, "insert_id": None, "duplicate": False,
                "properties": properties,
            }  # fmt: skip
            return [Part.of(scanned_rows([row]))]

        return PassedOver(Held(frozenset(may_have.split()), hot), parts)


def checks() -> tuple[list[int], Callable[[], None]]:
    done: list[int] = []
    return done, lambda: done.append(1)


def test_names_are_sought_where_they_may_be_until_all_are_seen() -> None:
    files = Files()
    passed_over = [
        files.one("without", "", "view", {"plan": "x"}),
        files.one("let by", "plan", "view", {}),
        files.one("event", "buy", "buy", {}),
        files.one("property", "plan", "view", {"plan": "x"}),
        files.one("not needed", "buy plan", "buy", {"plan": "x"}),
    ]
    done, check = checks()
    watch = Watch(Names(frozenset({"buy"}), frozenset({"plan"})))
    rows, size = watch.look_among(passed_over, check)
    assert files.read == ["let by", "event", "property"]
    assert (watch.events, watch.properties) == ({"buy"}, {"plan"})
    assert rows == 3
    assert size > 0
    assert len(done) == 4


def test_what_was_seen_is_not_sought_and_what_is_nowhere_costs_no_reading() -> None:
    files = Files()
    passed_over = [files.one(f"{number}", "buy", "buy", {}) for number in range(5)]
    seen = Watch(Names(frozenset({"buy"}), frozenset()), events={"buy"})
    assert seen.look_among(passed_over, lambda: None) == (0, 0)
    typo = Watch(Names(frozenset({"byu"}), frozenset({"paln"})))
    assert typo.look_among(passed_over, lambda: None) == (0, 0)
    assert (files.read, typo.events, typo.properties) == ([], set(), set())


def test_rows_shown_as_others_are_looked_at_whatever_is_stored() -> None:
    files = Files()
    watch = Watch(Names(frozenset(), frozenset({"plan"})))
    watch.look_among([files.one("hot", "", "view", {"plan": "x"}, hot=True)], lambda: None)
    assert (files.read, watch.properties) == (["hot"], {"plan"})
