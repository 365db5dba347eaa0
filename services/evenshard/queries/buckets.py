"""Time buckets: the dates of a question, in a tenant's time zone, become instants with labels.

A bucket is what the local clock shows: its date, its week, its month; for hours and minutes the hour or minute *and*
the offset, so that an hour that occurs twice is two buckets. What the clock never showed has no bucket. As clocks are
put back across midnight in some zones, the instants of one day need not be in one piece: buckets are therefore given
as intervals, each with the number of its bucket.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from evenshard.errors import EvenshardError, FieldFault

Unit = Literal["minute", "hour", "day", "week", "month"]
UNITS: tuple[Unit, ...] = ("minute", "hour", "day", "week", "month")
BUCKETS_MAX = 100_000
OUTSIDE = -1
"""The bucket number of instants between those of the range."""

_MS = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_DAYS_MIN = {"minute": 1 / 1440, "hour": 1 / 24, "day": 1, "week": 7, "month": 28}
_MARGIN = timedelta(hours=26)
"""No zone is farther than this from UTC."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONDAY = 4
"""1970-01-05 was one."""

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Buckets:
    """``labels[b]`` names bucket b. Interval i is ``[bounds_ms[i], bounds_ms[i + 1])`` in UTC and belongs to bucket
    ``bucket_of[i]``, or to none (``OUTSIDE``). dtypes int64 (n + 1) and int32 (n)."""

    labels: tuple[str, ...]
    bounds_ms: Int64
    bucket_of: npt.NDArray[np.int32]


class _Stretch(NamedTuple):
    """UTC instants ``[start_ms, end_ms)`` during which the clock is ``offset_ms`` ahead of UTC."""

    start_ms: int
    end_ms: int
    offset_ms: int


def buckets(from_date: date, to_date: date, unit: Unit, zone: ZoneInfo) -> Buckets:
    """The buckets of the days ``from_date`` to ``to_date``, both inclusive, empty ones too.

    Raises ``RANGE_INVALID`` for more than ``BUCKETS_MAX``.
    """
    days = (to_date - from_date).days + 1
    if days / _DAYS_MIN[unit] > BUCKETS_MAX:
        raise EvenshardError(
            "RANGE_INVALID",
            f"{days} days by {unit} are more than {BUCKETS_MAX} buckets",
            hint="ask for fewer days, or for a coarser unit",
            fields=(FieldFault("unit", "too fine for the range"),),
        )
    first_ms = _local_ms(from_date)
    last_ms = _local_ms(to_date + timedelta(days=1))
    starts: list[Int64] = []
    keys: list[Int64] = []
    offsets: list[Int64] = []
    for stretch in _stretches(from_date, to_date, zone):
        begin = max(first_ms, stretch.start_ms + stretch.offset_ms)
        end = min(last_ms, stretch.end_ms + stretch.offset_ms)
        if begin >= end:
            continue
        floors = _floors(begin, end, unit)
        starts += [np.maximum(floors, begin) - stretch.offset_ms, np.array([end - stretch.offset_ms])]
        keys += [floors, np.array([_NO_KEY])]
        offsets.append(np.full(len(floors) + 1, stretch.offset_ms))
    if not starts:
        empty_ms = first_ms - _offset_ms(_instant(first_ms), zone)
        return Buckets((), np.array([empty_ms, empty_ms]), np.array([OUTSIDE], np.int32))
    return _numbered(unit, np.concatenate(starts), np.concatenate(keys), np.concatenate(offsets))


def days_ms(from_date: date, to_date: date, zone: ZoneInfo) -> list[int]:
    """When the clock shows one of these days: ascending instants in pairs, ``[start, end)`` each; at least one pair.

    Raises ``RANGE_INVALID`` for a range too long.
    """
    made = buckets(from_date, to_date, "month", zone)
    found: list[int] = []
    for at, bucket in enumerate(made.bucket_of.tolist()):
        if bucket == OUTSIDE:
            continue
        start, end = made.bounds_ms[at : at + 2].tolist()
        if found and found[-1] == start:
            found[-1] = end
        else:
            found += [start, end]
    return found or made.bounds_ms[[0, 0]].tolist()  # none for dates that a zone's clock never showed


_NO_KEY = np.iinfo(np.int64).min


def _numbered(unit: Unit, starts: Int64, keys: Int64, offsets: Int64) -> Buckets:
    """Intervals that begin at ``starts`` get the number of their bucket; the last one only ends the one before."""
    # A piece that ends where the next begins leaves an interval of no length.
    real = np.append(starts[1:] != starts[:-1], True)
    starts, keys, offsets = starts[real], keys[real], offsets[real]
    inside = keys != _NO_KEY
    bucket_of = np.full(len(keys), OUTSIDE, np.int32)
    if unit in ("minute", "hour"):
        bucket_of[inside] = np.arange(np.count_nonzero(inside))
        labels = tuple(map(_moment_label, keys[inside].tolist(), offsets[inside].tolist()))
    else:
        distinct, numbers = np.unique(keys[inside], return_inverse=True)
        bucket_of[inside] = numbers
        labels = tuple(np.datetime_as_string(distinct.astype("M8[ms]"), unit="D").tolist())
    # Neighbours of one bucket (a day with a change of the clock within) are one interval.
    changes = np.append(True, bucket_of[1:] != bucket_of[:-1])
    changes[-1] = True
    starts, bucket_of = starts[changes], bucket_of[changes]
    return Buckets(labels, starts, bucket_of[:-1])


def _floors(begin: int, end: int, unit: Unit) -> Int64:
    """The local starts (ms) of all units that overlap the local times ``[begin, end)``."""
    if unit in ("minute", "hour", "day"):
        step = _MS[unit]
        return np.arange(begin // step * step, end, step)
    last_day = (end - 1) // _MS["day"]
    first_day = begin // _MS["day"]
    if unit == "week":
        monday = (first_day - _MONDAY) // 7 * 7 + _MONDAY
        return np.arange(monday, last_day + 1, 7) * _MS["day"]
    months = np.array([first_day, last_day], "M8[D]").astype("M8[M]")
    every = np.arange(months[0], months[1] + np.timedelta64(1, "M"))
    return every.astype("M8[ms]").astype(np.int64)


def _moment_label(local_ms: int, offset_ms: int) -> str:
    zone = timezone(timedelta(milliseconds=offset_ms))
    return (_EPOCH + timedelta(milliseconds=local_ms)).replace(tzinfo=zone).isoformat()


def _local_ms(day: date) -> int:
    """Midnight of a day as if its clock were UTC's."""
    return (day - date(1970, 1, 1)).days * _MS["day"]


def _instant(utc_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=utc_ms)


def _offset_ms(instant: datetime, zone: ZoneInfo) -> int:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) * 1000


def _stretches(from_date: date, to_date: date, zone: ZoneInfo) -> list[_Stretch]:
    """The stretches of constant offset that cover all instants of these days.

    Offsets are compared day by day, and a change is narrowed down to its second: no zone changes twice within a day.
    """
    at = datetime(from_date.year, from_date.month, from_date.day, tzinfo=UTC) - _MARGIN
    stop = datetime(to_date.year, to_date.month, to_date.day, tzinfo=UTC) + timedelta(days=1) + _MARGIN
    found: list[_Stretch] = []
    start, offset = at, _offset_ms(at, zone)
    while at < stop:
        later = min(at + timedelta(days=1), stop)
        if (later_offset := _offset_ms(later, zone)) != offset:
            change = _change_between(at, later, zone)
            found.append(_Stretch(_utc_ms(start), _utc_ms(change), offset))
            start, offset = change, later_offset
        at = later
    found.append(_Stretch(_utc_ms(start), _utc_ms(stop), offset))
    return found


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first second in ``(before, after]`` with another offset than ``before``."""
    offset = _offset_ms(before, zone)
    low, high = 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_ms(before + timedelta(seconds=middle), zone) == offset:
            low = middle
        else:
            high = middle
    return before + timedelta(seconds=high)


def _utc_ms(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(milliseconds=1)
