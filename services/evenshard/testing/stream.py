"""A stream of events as small shops' apps send them: the same for the same seed, fast, like life where it counts.

Sessions walk from state to state (view, search, cart, checkout, purchase), more of them by day than by night; shops are
of very different size, and so are their customers; networks make clients send an event twice (same insert_id); and in
the largest shop one broken integration asks for stock all day long, far more often than any person clicks.

``python -m evenshard.testing.stream`` writes it to stdout.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import zstandard

Ints = npt.NDArray[np.int64]

EVENTS_DEFAULT: Final = 220_000
DAYS: Final = 30
DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
SEED_DEFAULT: Final = 20_260_101
TENANTS: Final = ("bookshop", "bikes", "records", "plants", "lamps", "tea-house", "maps", "kites")
SIZE_EXPONENT: Final = 1.6
"""The n-th shop has n ** -1.6 of the events of the first."""
RUNAWAY_ID: Final = "stock-sync"
RUNAWAY_EVENT: Final = "Stock checked"
RUNAWAY_SHARE: Final = 0.06
"""Of all events, sent by ``RUNAWAY_ID`` of the first tenant within one UTC day, the day before ``now``'s."""
RETRY_SHARE: Final = 0.02
RETRY_LINES_MAX: Final = 2_000
"""A retry comes at most so many lines after its original."""
_LINES_A_BLOCK: Final = 10_000

_STATES: Final = ("App opened", "Searched", "Product viewed", "Added to cart", "Checkout started", "Purchased")
_EXIT: Final = len(_STATES)
_STEPS_MAX: Final = 40
# From each state: the chances of the next one; what is left of 1 ends the session. The app's new version helps
# people over the checkout.
_OLD_APP: Final = (
    (0.00, 0.35, 0.50, 0.00, 0.00, 0.00),
    (0.00, 0.20, 0.62, 0.00, 0.00, 0.00),
    (0.00, 0.16, 0.42, 0.17, 0.00, 0.00),
    (0.00, 0.08, 0.30, 0.05, 0.36, 0.00),
    (0.00, 0.00, 0.08, 0.00, 0.00, 0.52),
    (0.00, 0.05, 0.15, 0.00, 0.00, 0.00),
)
_NEW_APP: Final = (*_OLD_APP[:4], (0.00, 0.00, 0.06, 0.00, 0.00, 0.74), _OLD_APP[5])
_PAUSE_S: Final = (4.0, 12.0, 25.0, 15.0, 30.0, 20.0)
"""How long people look at each state, on average."""

_PLANS: Final = ("free", "plus", "pro")
_PLAN_WEIGHTS: Final = (0.78, 0.17, 0.05)
_COUNTRIES: Final = ("DE", "US", "FR", "GB", "NL", "AT", "PL", "ES", "JP", "BR")
_COUNTRY_WEIGHTS: Final = (0.34, 0.18, 0.12, 0.10, 0.08, 0.05, 0.05, 0.04, 0.02, 0.02)
_PLATFORMS: Final = ("web", "ios", "android")
_VERSIONS: Final = ("4.1.0", "4.2.0")
_RELEASED: Final = 0.5
"""When the second version came out, as a share of the days; people update within a week or so."""
_CATEGORIES: Final = ("new", "classic", "sale", "gift", "used", "rare")
_QUERIES: Final = ("gift", "blue", "under 20", "wood", "vintage", "small", "for children", "repair")
_HOURS: Final = (2, 1, 1, 1, 1, 2, 4, 7, 9, 10, 11, 12, 13, 12, 11, 11, 12, 13, 15, 17, 18, 14, 9, 4)
_WEEKDAYS: Final = (10, 10, 10, 10, 11, 13, 14)
_GROWTH: Final = 0.25
"""How much busier the last day is than the first."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Events by column; row ``order[i]`` is the i-th line sent, so a row that comes twice there was retried."""

    tenant: Ints
    """Index into ``TENANTS``."""
    user: Ints
    """Number within its tenant; -1: the runaway client."""
    session: Ints
    state: Ints
    """Index into ``_STATES``; -1: ``RUNAWAY_EVENT``."""
    time_ms: Ints
    chance: Ints
    """63 random bits: the event's insert_id and whatever it has properties from."""
    version: Ints
    order: Ints

    @property
    def events(self) -> int:
        return len(self.time_ms)

    @property
    def retries(self) -> int:
        return len(self.order) - self.events


def make_stream(now: datetime, events: int = EVENTS_DEFAULT, seed: int = SEED_DEFAULT) -> Stream:
    """``events`` events of the ``DAYS`` days before ``now``, and their retries."""
    rng = np.random.default_rng(seed)
    now_ms = int(now.timestamp() * 1000)
    runaway = int(events * RUNAWAY_SHARE)
    tenant, user, session, state, time_ms, version = _sessions(rng, now_ms, events - runaway)
    loop_ms = now_ms // DAY_MS * DAY_MS - DAY_MS + np.sort(rng.integers(0, DAY_MS, runaway))
    time_ms = np.concatenate([time_ms, loop_ms])
    by_time = np.argsort(time_ms, kind="stable")

    def joined(column: Ints, of_runaway: int) -> Ints:
        return np.concatenate([column, np.full(runaway, of_runaway)])[by_time]

    return Stream(
        tenant=joined(tenant, 0),
        user=joined(user, -1),
        session=joined(session, -1),
        state=joined(state, -1),
        time_ms=time_ms[by_time],
        chance=rng.integers(0, 1 << 63, events),
        version=joined(version, 0),
        order=_with_retries(rng, events),
    )


def ndjson_blocks(stream: Stream) -> Iterator[bytes]:
    """Its lines in the order sent, some thousand at a time, each with its tenant."""
    for start in range(0, len(stream.order), _LINES_A_BLOCK):
        rows = stream.order[start : start + _LINES_A_BLOCK]
        columns = (stream.tenant, stream.user, stream.session, stream.state, stream.time_ms, stream.chance)
        values = zip(*(column[rows].tolist() for column in (*columns, stream.version)), strict=True)
        yield b"".join(orjson.dumps(_line(*row), option=orjson.OPT_APPEND_NEWLINE) for row in values)


def write_stream(stream: Stream, path: Path) -> None:
    """As NDJSON, compressed if ``path`` ends in ``.zst``."""
    with contextlib.ExitStack() as stack:
        out: Any = stack.enter_context(path.open("wb"))
        if path.suffix == ".zst":
            out = stack.enter_context(zstandard.ZstdCompressor().stream_writer(out))
        for block in ndjson_blocks(stream):
            out.write(block)


def _sessions(rng: np.random.Generator, now_ms: int, events: int) -> tuple[Ints, ...]:
    """Tenant, user, session, state, time and app version of exactly ``events`` events, session after session."""
    sessions = events  # more than enough: a session has several events
    weights = np.arange(1, len(TENANTS) + 1) ** -SIZE_EXPONENT
    tenant = rng.choice(len(TENANTS), sessions, p=weights / weights.sum())
    # Few customers come often, most once or twice.
    users = np.maximum(5, (weights / weights.sum() * sessions * 0.12).astype(np.int64))
    user = (users[tenant] * rng.random(sessions) ** 1.8).astype(np.int64)
    start_ms = _starts(rng, now_ms, sessions)
    age = 1 - (now_ms - start_ms) / (DAYS * DAY_MS)
    updated = _RELEASED + 0.25 * ((user * 2_654_435_761 + tenant) % 1009) / 1009
    version = (age > updated).astype(np.int64)

    chances = np.cumsum(np.array([_OLD_APP, _NEW_APP]), axis=2)
    here = np.arange(sessions)
    state, clock_ms = np.zeros(sessions, np.int64), start_ms
    numbers, states, times = [], [], []
    for _ in range(_STEPS_MAX):
        numbers.append(here)
        states.append(state)
        times.append(clock_ms)
        after = (rng.random(len(here))[:, None] >= chances[version[here], state]).sum(axis=1)
        clock_ms = clock_ms + 400 + (rng.exponential(1000, len(here)) * np.array(_PAUSE_S)[state]).astype(np.int64)
        stays = (after != _EXIT) & (clock_ms < now_ms)
        here, state, clock_ms = here[stays], after[stays], clock_ms[stays]
    session = np.concatenate(numbers)
    first = np.argsort(session, kind="stable")[:events]
    session = session[first]
    return (
        tenant[session], user[session], session, np.concatenate(states)[first], np.concatenate(times)[first],
        version[session],
    )  # fmt: skip


def _starts(rng: np.random.Generator, now_ms: int, sessions: int) -> Ints:
    """When sessions begin: by the hour, by the day of the week, a little more every day."""
    begin_ms = now_ms - DAYS * DAY_MS
    hours = begin_ms // HOUR_MS + np.arange(DAYS * 24)
    weight = np.array(_HOURS)[hours % 24] * np.array(_WEEKDAYS)[(hours // 24 + 3) % 7]
    weight = weight * (1 + _GROWTH * np.arange(len(hours)) / len(hours))
    hour = rng.choice(len(hours), sessions, p=weight / weight.sum())
    return np.asarray(begin_ms + hour * HOUR_MS + rng.integers(0, HOUR_MS, sessions), np.int64)


def _with_retries(rng: np.random.Generator, events: int) -> Ints:
    """Rows in the order sent: by time, and some again a little later."""
    again = np.sort(rng.choice(events, int(events * RETRY_SHARE), replace=False))
    place = np.concatenate([np.arange(events), again + rng.integers(1, RETRY_LINES_MAX, len(again)) + 0.5])
    return np.concatenate([np.arange(events), again])[np.argsort(place, kind="stable")]


def _line(tenant: int, user: int, session: int, state: int, time_ms: int, chance: int, version: int) -> dict[str, Any]:
    insert_id = f"{chance:016x}"
    if state < 0:
        properties: dict[str, Any] = {
            "distinct_id": RUNAWAY_ID, "time": time_ms, "$insert_id": insert_id, "platform": "api",
            "sku": f"B-{chance % 400:03d}", "in_stock": chance % 11 != 0,
        }  # fmt: skip
        return {"event": RUNAWAY_EVENT, "tenant": TENANTS[tenant], "properties": properties}
    person = (user * 0x9E3779B97F4A7C15 + tenant) >> 7
    properties = {
        "distinct_id": f"user-{user:05d}",
        "time": time_ms,
        "$insert_id": insert_id,
        "session": session,
        "plan": _pick(_PLANS, _PLAN_WEIGHTS, person),
        "country": _pick(_COUNTRIES, _COUNTRY_WEIGHTS, person >> 10),
        "platform": _PLATFORMS[(person >> 20) % 3],
        "app_version": _VERSIONS[version],
    }
    match _STATES[state]:
        case "Searched":
            properties["query"] = _QUERIES[chance % 23 % len(_QUERIES)]
            properties["results"] = chance % 41
        case "Product viewed" | "Added to cart":
            properties["category"] = _CATEGORIES[chance % 17 % len(_CATEGORIES)]
            properties["price"] = 4.5 + chance % 997 / 10
        case "Checkout started" | "Purchased":
            properties["items"] = 1 + chance % 13 // 5
            properties["amount"] = round((4.5 + chance % 997 / 10) * (1 + chance % 13 // 5), 2)
    return {"event": _STATES[state], "tenant": TENANTS[tenant], "properties": properties}


def _pick(values: tuple[str, ...], weights: tuple[float, ...], number: int) -> str:
    """By weight: the same for the same number."""
    left = number % 1000 / 1000
    for value, weight in zip(values, weights, strict=True):
        left -= weight
        if left < 0:
            return value
    return values[0]


def main() -> None:
    """Writes a stream that ends now to stdout."""
    parser = argparse.ArgumentParser(description="Writes a made-up shop's events, as NDJSON, to stdout.")
    parser.add_argument("--events", type=int, default=EVENTS_DEFAULT, help="how many, besides retries (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED_DEFAULT, help="the same seed, the same shop (%(default)s)")
    flags = parser.parse_args()
    for block in ndjson_blocks(make_stream(datetime.now(UTC), flags.events, flags.seed)):
        sys.stdout.buffer.write(block)


if __name__ == "__main__":
    main()
