"""The report of hot keys: which keys it is of, and what it says of each, from what was counted. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from evenshard.events.limits import PLACEHOLDER_IDS
from evenshard.hotkeys.standing_out import StandOut
from evenshard.hotkeys.weeks import Days

KEYS_MAX: Final = 100
"""Keys told of one by one."""
DAYS_MAX: Final = 40
"""Days on which events of keys are counted: an import of old events may make keys of many days hot."""
MAIN_EVENT_SHARE: Final = 0.8
_MS_A_DAY: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1)

Key = tuple[str, date]
"""distinct_id and UTC day."""


@dataclass(frozen=True, slots=True)
class MarkedKey:
    """What a mark says."""

    distinct_id: str
    day: date
    mode: str
    threshold: int
    made_ms: int
    """When its key crossed; 0: not known."""


@dataclass(frozen=True, slots=True)
class KeyReport:
    """A key that became hot."""

    distinct_id: str
    day: date
    mode: str
    threshold: int | None
    """None: it has no mark, and came as remediated already."""
    kept: int
    rewritten: int
    events: Mapping[str, int]
    """By name, kept and rewritten ones, the most first."""
    stands_out: Sequence[StandOut]
    likely_cause: str
    advice: str

    @property
    def total(self) -> int:
        return self.kept + self.rewritten


@dataclass(frozen=True, slots=True)
class HotKeyReport:
    """Of some days of a tenant."""

    tenant: str
    days: Days
    hot_keys: Sequence[KeyReport]
    """The largest first."""
    more_hot_keys: int = 0
    """Keys beyond those."""


def is_of(mark: MarkedKey, days: Days) -> bool:
    """Whether a key became hot within the days, or is of one of them: old events make keys of old days hot now, and who
    asks for those days looks for them there."""
    crossed = day_start_ms(days.first) <= mark.made_ms < day_start_ms(days.last) + _MS_A_DAY
    return crossed or days.first <= mark.day <= days.last


def day_start_ms(day: date) -> int:
    """Midnight UTC."""
    return (day - _EPOCH).days * _MS_A_DAY


def keys_of(
    marks: Iterable[MarkedKey], remediated: Iterable[Key], days: Days
) -> tuple[dict[Key, MarkedKey | None], int]:
    """The keys of a report with their marks, and how many are left out for want of room: of so many days at most, the
    newest. ``marks``: all of the tenant; ``remediated``: keys of the days that have rewritten events, which may have
    come as such and have no mark."""
    found: dict[Key, MarkedKey | None] = dict.fromkeys(remediated)
    found |= {(mark.distinct_id, mark.day): mark for mark in marks if is_of(mark, days)}
    counted = set(sorted({day for _, day in found}, reverse=True)[:DAYS_MAX])
    kept = {key: found[key] for key in sorted(found, key=lambda key: (key[1], key[0])) if key[1] in counted}
    return kept, len(found) - len(kept)


def largest(keys: Mapping[Key, int]) -> list[Key]:
    """Those told of: most events first, then by day and id."""
    return sorted(keys, key=lambda key: (-keys[key], key[1], key[0]))[:KEYS_MAX]


def by_count(events: Mapping[str, int]) -> dict[str, int]:
    """The most first, ties by name."""
    return dict(sorted(events.items(), key=lambda each: (-each[1], each[0])))


def likely_cause(distinct_id: str, events: Mapping[str, int], found: Sequence[StandOut]) -> str:
    """What most likely sends so many events of one id, from what is known of them."""
    said = []
    if distinct_id.lower() in PLACEHOLDER_IDS:
        said.append(f"{distinct_id!r} is a placeholder that SDK bugs send as distinct_id: many users share it")
    if found:
        said.append("; ".join(f"{each.property} is {each.value_json} in {_shares(each)}" for each in found[:3]))
    total = sum(events.values())
    name, count = next(iter(events.items()), ("", 0))
    if total and count >= MAIN_EVENT_SHARE * total:
        said.append(f"{count / total:.0%} of its events are {name!r}: code that sends it in a loop, or too often")
    if not said:
        said.append("events of many kinds and of no build in particular: an id that many users share, a test or a bot")
    return ". ".join(said)


def _shares(each: StandOut) -> str:
    return f"{each.share:.0%} of its events, and in {each.share_elsewhere:.0%} of all others"


def advice(tenant: str, distinct_id: str, day: date, mode: str, found: Sequence[StandOut]) -> str:
    """What to do: find the code, stop it, and decide what becomes of what was stored."""
    where = f"where {found[0].property} is {found[0].value_json}" if found else "that sends this id"
    named = f"evenshard admin repair {tenant} --user {_quoted(distinct_id)} --from {day} --to {day}"
    fix = f"look at the code {where} and stop what it sends too often, or have it send the ids of its users"
    match mode:
        case "rewrite":
            return (
                f"{fix}; the events are there as $hotshard_events: leave them, or give them back their names ({named} "
                f"--action restore) or their users ({named} --action reassign --distinct-id-from PROPERTY), or remove "
                f"them ({named} --action delete)"
            )
        case "salt":
            return f"{fix}; its events are spread over the shards and answers are whole, so nothing else is urgent"
    return (
        f"{fix}; nothing was done with its events (observe), so its shard carries them all: evenshard admin set-tenant "
        f"{tenant} --hot-key-mode salt (or rewrite) spreads those of keys that are not marked yet"
    )


def _quoted(text: str) -> str:
    """As a shell takes it."""
    return "'" + text.replace("'", "'\\''") + "'"
