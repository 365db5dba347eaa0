"""A cohort as it is defined, checked: what stands in one of these can be planned."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from evenshard.errors import EvenshardError, FieldFault
from evenshard.queries.expression import COHORT_PREFIX
from evenshard.queries.funnel_model import FunnelQuery
from evenshard.queries.model import check_step, date_range, fail
from evenshard.queries.steps import Step

NAME_CHARACTERS_MAX: Final = 100
CONDITIONS_MAX: Final = 32
"""Of what users did, and of what they did not."""
COHORTS_AT_ONCE_MAX: Final = 32
"""That one query needs, those that others refer to among them."""


@dataclass(frozen=True, slots=True)
class Did:
    """Who matches ``step`` at least so many times."""

    step: Step
    at_least: int


@dataclass(frozen=True, slots=True)
class CohortQuery:
    """Of the users with any event in the range those for whom all of this holds; made by ``cohort_query``."""

    from_date: date
    to_date: date
    did: tuple[Did, ...]
    did_not: tuple[Step, ...]
    funnel: FunnelQuery | None
    reached: int
    """The step of the funnel, from 1."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Of all filters within."""
        steps = [*(each.step for each in self.did), *self.did_not]
        found = [step.where for step in steps]
        if self.funnel is not None:
            found += [self.funnel.where, *(step.where for step in self.funnel.steps)]
            found += [each.step.where for each in self.funnel.exclusions]
        return tuple(filter(None, found))


def cohort_query(
    *,
    from_date: str,
    to_date: str,
    did: Sequence[Did] = (),
    did_not: Sequence[Step] = (),
    funnel: FunnelQuery | None = None,
    reached: int = 0,
) -> CohortQuery:
    """Checks a definition. Raises ``RANGE_INVALID`` for the dates, ``QUERY_INVALID`` for anything else."""
    first, last = date_range(from_date, to_date)
    if not (did or did_not or funnel):
        fail("definition", "say what users did, did not, or how far they came in a funnel")
    for field, count in (("did", len(did)), ("did_not", len(did_not))):
        if count > CONDITIONS_MAX:
            fail(field, f"at most {CONDITIONS_MAX} steps, not {count}")
    for number, each in enumerate(did):
        if each.at_least < 0:
            fail(f"did[{number}].at_least", f"{each.at_least} is less than 1")
    if funnel is not None and not 1 <= reached <= len(funnel.steps):
        fail("funnel.reached", f"{reached} is no step of the funnel, 1 to {len(funnel.steps)}")
    if funnel is not None and (funnel.by or funnel.explain_user):
        fail("funnel", "a cohort's funnel has no breakdown and explains nobody")
    return CohortQuery(
        first,
        last,
        tuple(
            replace(each, step=check_step(each.step, f"did[{number}].step"), at_least=each.at_least or 1)
            for number, each in enumerate(did)
        ),
        tuple(check_step(step, f"did_not[{number}]") for number, step in enumerate(did_not)),
        funnel,
        reached,
    )


def check_cohort_name(name: str) -> None:
    """Raises ``QUERY_INVALID``."""
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX or not name.isprintable() or name != name.strip():
        fail(
            "name",
            f"a cohort's name has 1 to {NAME_CHARACTERS_MAX} printable characters, none of them at its edge a space",
        )


def cohorts_named(names: Iterable[str]) -> list[str]:
    """Of the names of properties those of cohorts, without what marks them."""
    found = dict.fromkeys(name.removeprefix(COHORT_PREFIX) for name in names if name.startswith(COHORT_PREFIX))
    return list(found)


def in_order(names: Iterable[str], uses: Callable[[str], Iterable[str]]) -> list[str]:
    """Cohorts, each after those it ``uses``. Raises ``QUERY_INVALID`` for one that needs itself, or for too many."""
    ordered: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            round_trip = " → ".join((*path[path.index(name) :], name))
            problem = f"cohort {name!r} refers to itself: {round_trip}"
            raise EvenshardError("QUERY_INVALID", problem, fields=(FieldFault("where", problem),))
        if name in ordered:
            return
        if len(path) >= COHORTS_AT_ONCE_MAX or len(ordered) >= COHORTS_AT_ONCE_MAX:
            fail("where", f"more than {COHORTS_AT_ONCE_MAX} cohorts are needed at once")
        for used in uses(name):
            visit(used, (*path, name))
        ordered[name] = None

    for name in names:
        visit(name, ())
    return list(ordered)
