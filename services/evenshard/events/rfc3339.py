"""Times of JSON tokens as ms since the epoch; fractions of a ms are cut off, digit by digit, so nothing is rounded.

RFC 3339: a date, ``T`` (or ``t``, or a space), a time, any number of fractional digits, ``Z`` or an offset.
"""

import numpy as np

from evenshard.kernels import kernel, view

INVALID = -(1 << 63)
"""The kernel's answer for what is no time."""
_INVALID = np.int64(INVALID)
_INT, _DOUBLE, _STRING = 2, 3, 4


@kernel(inline="always")
def _number(data, at, size):  # type: ignore[no-untyped-def]
    """The value of ``size`` digits; -1 if one is none."""
    value = np.int64(0)
    for place in range(np.uint64(size)):
        digit = np.int64(data[at + place]) - 48
        if digit < 0 or digit > 9:
            return np.int64(-1)
        value = value * 10 + digit
    return value


@kernel(inline=True)
def _days(year, month, day):  # type: ignore[no-untyped-def]
    """Days since 1970-01-01 of the proleptic Gregorian calendar (H. Hinnant, chrono-compatible date algorithms)."""
    year -= 1 if month <= 2 else 0
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


@kernel(inline=True)
def _month_days(year, month):  # type: ignore[no-untyped-def]
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@kernel(inline=True)
def parse_rfc3339(data, start, stop):  # type: ignore[no-untyped-def]  # noqa: C901
    """ms of the text ``data[start:stop]`` (uint8), or ``INVALID``. To be called from kernels."""
    at, end = np.uint64(start), np.uint64(stop)
    one = np.uint64(1)
    if end - at < 20 or data[at + np.uint64(4)] != 45 or data[at + np.uint64(7)] != 45:
        return _INVALID
    separator = data[at + np.uint64(10)]
    if separator != 84 and separator != 116 and separator != 32:
        return _INVALID
    if data[at + np.uint64(13)] != 58 or data[at + np.uint64(16)] != 58:
        return _INVALID
    year, month, day = _number(data, at, 4), _number(data, at + np.uint64(5), 2), _number(data, at + np.uint64(8), 2)
    hour = _number(data, at + np.uint64(11), 2)
    minute = _number(data, at + np.uint64(14), 2)
    second = _number(data, at + np.uint64(17), 2)
    # Second 60 is a leap second: the first of the next minute.
    if year < 0 or month < 1 or month > 12 or day < 1 or day > _month_days(year, month):
        return _INVALID
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 60:
        return _INVALID
    at += np.uint64(19)
    ms = np.int64(0)
    if data[at] == 46:
        at += one
        first, weight = at, 100
        while at < end and 48 <= data[at] <= 57:
            ms += (np.int64(data[at]) - 48) * weight
            weight //= 10
            at += one
        if at == first:
            return _INVALID
    offset = np.int64(0)
    if at + one == end and (data[at] == 90 or data[at] == 122):
        at += one
    elif at + np.uint64(6) == end and (data[at] == 43 or data[at] == 45) and data[at + np.uint64(3)] == 58:
        hours, minutes = _number(data, at + one, 2), _number(data, at + np.uint64(4), 2)
        if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
            return _INVALID
        offset = (hours * 60 + minutes) * (1 if data[at] == 43 else -1)
        at = end
    if at != end:
        return _INVALID
    return ((_days(year, month, day) * 24 + hour) * 60 + minute - offset) * 60_000 + second * 1000 + ms


@kernel(inline=True)
def _numeric_time(data, start, stop, seconds_below):  # type: ignore[no-untyped-def]
    """ms of a JSON number; any negative one is 0 (all are too old)."""
    at, end = np.uint64(start), np.uint64(stop)
    if data[at] == 45:
        return np.int64(0)
    whole = np.int64(0)
    while at < end and data[at] != 46:
        whole = whole * 10 + (np.int64(data[at]) - 48)
        at += np.uint64(1)
    if whole >= seconds_below:
        return whole
    ms, weight = whole * 1000, np.int64(100)
    at += np.uint64(1)
    while at < end and weight > 0:
        ms += (np.int64(data[at]) - 48) * weight
        weight //= 10
        at += np.uint64(1)
    return ms


@kernel(
    f"void({view('uint8')}, {view('uint8')}, {view('int32')}, {view('int32')}, {view('boolean')}, int64, int64[::1])"
)
def token_times(data, kinds, starts, ends, escaped, seconds_below, out):  # type: ignore[no-untyped-def]
    """ms of tokens (0: none); ``INVALID`` for those that are no time. Numbers below ``seconds_below`` are seconds."""
    for i in range(np.uint64(out.size)):
        if kinds[i] == _INT or kinds[i] == _DOUBLE:
            out[i] = _numeric_time(data, starts[i], ends[i], seconds_below)
        elif kinds[i] == _STRING and not escaped[i]:
            out[i] = parse_rfc3339(data, starts[i], ends[i])
        else:
            out[i] = _INVALID
