"""Cuts lines of JSON into tokens at memory speed. A line it does not wholly understand is *odd*: left to the slow path.

Plain is an object of the row's shape whose properties are strings, numbers that fit, bools and nulls, no key twice. In
*trusted* text, which the slow path wrote itself, values may nest and keys may have escapes. Every line ends with a line
feed, so nothing here asks for the end of the text. Indices are unsigned (see ``hashing``).
"""

import numpy as np

from evenshard.events.hashing import load64
from evenshard.kernels import kernel, view

BOOL, INT, DOUBLE, STRING, NESTED = 1, 2, 3, 4, 5
"""Kinds of tokens. Nulls have none: they mean *not set*."""
_NULL, _ODD = 6, 0

# Rows of the array of tokens.
ROW, KEY, KIND, AT, END, SIZE = range(6)
"""``data[AT:END]`` is the text without quotes, ``SIZE`` its bytes once unescaped."""

# Rows of the array of keys.
KEY_AT, KEY_END, KEY_SCOPE, KEY_NEXT, KEY_SEEN = range(5)

# Rows of the array of lines.
LINE_AT, LINE_END, LINE_NUMBER = range(3)

# Places in the state.
TOKENS, KEYS, SERIAL, POSITION, LINES, LINE_COUNT = range(6)

KEYS_HEADROOM = 512
"""More than the keys of one line."""
_TENANT, _PROPERTIES, _TIME, _DUPLICATE, _PROPERTY_TIME, _FIRST_PROPERTY = 0, 2, 4, 7, 9, 11

_U1, _U2, _U4, _U5, _U8 = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(5), np.uint64(8)
_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_SLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)
_INDEX = np.uint64(0x0001020304050607)


@kernel(inline=True)
def _hex_value(letter):  # type: ignore[no-untyped-def]
    if 48 <= letter <= 57:
        return letter - 48
    if 65 <= letter <= 70:
        return letter - 55
    if 97 <= letter <= 102:
        return letter - 87
    return 99


@kernel(inline=True)
def _special(word):  # type: ignore[no-untyped-def]
    """The high bit of each byte that is a quote, a backslash or a control character; exact for the lowest set one."""
    quote, slash = word ^ _QUOTES, word ^ _SLASHES
    return (((quote - _ONES) & ~quote) | ((slash - _ONES) & ~slash) | ((word - _SPACES) & ~word)) & _HIGHS


@kernel(inline="always")
def _skip_space(data, at):  # type: ignore[no-untyped-def]
    while data[at] == 0x20 or data[at] == 0x09 or data[at] == 0x0D:
        at += _U1
    return at


@kernel(inline="always")
def _scan_string(data, at):  # type: ignore[no-untyped-def]
    """From after the opening quote: (the closing quote's place, unescaped bytes); (0, 0) if odd."""
    lost = np.uint64(0)
    start, end = at, np.uint64(0)
    while True:
        found = _special(load64(data, at))
        if found == 0:
            at += _U8
            continue
        lowest = found & (np.uint64(0) - found)
        at += ((lowest >> np.uint64(7)) * _INDEX) >> np.uint64(56)
        letter = data[at]
        if letter == 0x22:
            end = at
            break
        if letter != 0x5C:
            break
        escaped = data[at + _U1]
        if escaped == 0x75:
            code = 0
            for place in range(_U2, np.uint64(6)):
                digit = _hex_value(data[at + place])
                if digit == 99:
                    code = 0xD800
                    break
                code = code * 16 + digit
            if 0xD800 <= code <= 0xDFFF:
                break
            lost += _U5 if code < 0x80 else (_U4 if code < 0x800 else np.uint64(3))
            at += np.uint64(6)
        elif (
            escaped == 0x22
            or escaped == 0x5C
            or escaped == 0x2F
            or escaped == 0x62
            or escaped == 0x66
            or escaped == 0x6E
            or escaped == 0x72
            or escaped == 0x74
        ):
            lost += _U1
            at += _U2
        else:
            break
    return end, (end - start - lost if end else np.uint64(0))


@kernel(inline="always")
def _scan_digits(data, at):  # type: ignore[no-untyped-def]
    while 48 <= data[at] <= 57:
        at += _U1
    return at


@kernel(inline="always")
def _scan_number(data, at, trusted, is_time):  # type: ignore[no-untyped-def]
    """(kind, end). Odd, unless trusted: integers of more than 18 digits, ``-0``, doubles that might be infinite; times
    with more digits than a double keeps."""
    negative = data[at] == 0x2D
    start = at + _U1 if negative else at
    at = _scan_digits(data, start)
    digits = at - start
    kind = INT
    if digits == 0 or (digits > 1 and data[start] == 48) or (negative and digits == 1 and data[start] == 48):
        # A leading zero; or -0 (and -0.5, which is rare enough to go the slow way too).
        kind = INT if trusted and digits else _ODD
    exponent = np.uint64(0)
    if data[at] == 0x2E:
        fraction = at + _U1
        at = _scan_digits(data, fraction)
        kind = _ODD if kind == _ODD or at == fraction else DOUBLE
        digits += at - fraction
    if data[at] == 0x65 or data[at] == 0x45:
        at += _U1
        if data[at] == 0x2B or data[at] == 0x2D:
            at += _U1
        first = at
        at = _scan_digits(data, first)
        exponent = at - first
        kind = _ODD if kind == _ODD or exponent == 0 else DOUBLE
    if not trusted:
        if kind == INT and digits > 18:
            kind = _ODD
        if kind == DOUBLE and (digits > 40 or exponent > 2 or (is_time and (digits > 15 or exponent > 0))):
            kind = _ODD
    return kind, at


@kernel(inline="always")
def _scan_word(data, at):  # type: ignore[no-untyped-def]
    """true, false or null: (kind, end)."""
    word = load64(data, at)
    short = word & np.uint64(0xFFFFFFFF)
    if short == 0x65757274:
        return BOOL, at + _U4
    if short == 0x6C6C756E:
        return _NULL, at + _U4
    if word & np.uint64(0xFFFFFFFFFF) == 0x65736C6166:
        return BOOL, at + _U5
    return _ODD, at


@kernel(inline="always")
def _scan_nested(data, at):  # type: ignore[no-untyped-def]
    """The end of a trusted array or object."""
    depth, quoted = 0, False
    while True:
        letter = data[at]
        at += _U1
        if quoted:
            if letter == 0x5C:
                at += _U1
            elif letter == 0x22:
                quoted = False
        elif letter == 0x22:
            quoted = True
        elif letter == 0x5B or letter == 0x7B:
            depth += 1
        elif letter == 0x5D or letter == 0x7D:
            depth -= 1
            if depth == 0:
                return at


@kernel(inline="always")
def find_key(data, at, end, scope, keys, key_count, slots):  # type: ignore[no-untyped-def]
    """The number of a key, ``key_count`` if it is new, and its slot."""
    value = np.uint64(14695981039346656037) ^ np.uint64(scope)
    for place in range(at, end):
        value = (value ^ np.uint64(data[place])) * np.uint64(1099511628211)
    mask = np.uint64(slots.size - 1)
    slot = (value ^ (value >> np.uint64(32))) & mask
    found = key_count
    while slots[slot] >= 0:
        key = np.uint64(slots[slot])
        first = np.uint64(keys[KEY_AT, key])
        if keys[KEY_SCOPE, key] == scope and np.uint64(keys[KEY_END, key]) - first == end - at:
            same = True
            for place in range(end - at):
                same &= data[at + place] == data[first + place]
            if same:
                found = np.int64(key)
                break
        slot = (slot + _U1) & mask
    return found, slot


@kernel(
    f"void({view('uint8')}, int64, {view('int64')}, boolean, boolean, int64, int64, int64[:,::1], int32[::1],"
    "int32[:,::1], int32[:,::1], int64[:,::1], boolean[::1], int64[::1])"
)
def tokenize(  # type: ignore[no-untyped-def]  # noqa: C901
    data,
    stop,
    rows,
    trusted,
    bare,
    properties_max,
    line_max,
    keys,
    slots,
    tokens,
    fields,
    lines,
    odd,
    state,
):
    """Reads lines from ``state[POSITION]`` up to ``stop``; returns early if keys or slots must grow: call it again.

    data: the text, 16 bytes longer than ``stop``. rows: the row of each line that is not blank. bare: a line is the
    properties object itself. properties_max, line_max (bytes): more is odd. keys, slots: the table of keys met so far.
    Written: tokens (6 × n), fields (token of each field × row; -1: none), lines (3 × row: begin, end, line), odd (row).
    """
    token_count, key_count = np.int64(state[TOKENS]), np.int64(state[KEYS])
    at, end = np.uint64(state[POSITION]), np.uint64(stop)
    while at < end:
        if key_count + KEYS_HEADROOM > keys.shape[1] or 2 * (key_count + KEYS_HEADROOM) > slots.size:
            break
        begin = at
        at = _skip_space(data, at)
        number = state[LINE_COUNT]
        state[LINE_COUNT] += 1
        if data[at] == 0x0A:
            at += _U1
            continue
        row = np.uint64(rows[np.uint64(state[LINES])])
        state[LINES] += 1
        state[SERIAL] += 1
        serial, first_token = state[SERIAL], token_count
        scope, previous, properties = np.int64(bare), np.uint64(_DUPLICATE), 0
        fine, first = data[at] == 0x7B, True
        at = _skip_space(data, at + _U1) if fine else at
        done = False
        while fine and not done:
            closed = first and data[at] == 0x7D
            if not closed:
                # The key: most often the one that followed the previous one last time.
                fine = data[at] == 0x22
                if not fine:
                    break
                at += _U1
                guess, key = keys[KEY_NEXT, previous], np.int64(-1)
                if guess >= 0 and keys[KEY_SCOPE, np.uint64(guess)] == scope:
                    source = np.uint64(keys[KEY_AT, np.uint64(guess)])
                    size = np.uint64(keys[KEY_END, np.uint64(guess)]) - source
                    if at + size < end and data[at + size] == 0x22:
                        same = True
                        for place in range(size):
                            same &= data[at + place] == data[source + place]
                        if same:
                            key = guess
                            at += size + _U1
                if key < 0:
                    key_end, key_size = _scan_string(data, at)
                    fine = key_end != 0 and (trusted or key_size == key_end - at)
                    if not fine:
                        break
                    key, slot = find_key(data, at, key_end, scope, keys, key_count, slots)
                    if key == key_count:
                        fine = scope == 1
                        if not fine:
                            break
                        new = np.uint64(key)
                        keys[KEY_AT, new], keys[KEY_END, new] = np.int64(at), np.int64(key_end)
                        keys[KEY_SCOPE, new], keys[KEY_NEXT, new], keys[KEY_SEEN, new] = scope, -1, 0
                        slots[slot] = key
                        key_count += 1
                    at = key_end + _U1
                    keys[KEY_NEXT, previous] = key
                previous = np.uint64(key)
                fine = keys[KEY_SEEN, previous] != serial
                keys[KEY_SEEN, previous] = serial
                at = _skip_space(data, at)
                if not fine or data[at] != 0x3A:
                    fine = False
                    break
                at = _skip_space(data, at + _U1)
                if key == _PROPERTIES:
                    fine = data[at] == 0x7B
                    at = _skip_space(data, at + _U1) if fine else at
                    scope, first = np.int64(1), True
                    continue
                # The value.
                letter = data[at]
                is_time = key in (_TIME, _PROPERTY_TIME)
                value_at, value_end, size, kind = at, at, np.uint64(0), _ODD
                if letter == 0x22:
                    value_at = at + _U1
                    value_end, size = _scan_string(data, value_at)
                    if value_end != 0 and (trusted or not is_time or size == value_end - value_at):
                        kind = STRING
                        at = value_end + _U1
                elif letter == 0x2D or 48 <= letter <= 57:
                    kind, value_end = _scan_number(data, at, trusted, is_time)
                    at = value_end
                elif letter == 0x7B or letter == 0x5B:
                    if trusted:
                        kind, value_end = NESTED, _scan_nested(data, at)
                        at = value_end
                else:
                    kind, value_end = _scan_word(data, at)
                    at = value_end
                fine = kind != _ODD
                if not fine:
                    break
                if kind != _NULL and key != _DUPLICATE:
                    entry = np.uint64(token_count)
                    tokens[ROW, entry], tokens[KEY, entry], tokens[KIND, entry] = row, key, kind
                    tokens[AT, entry], tokens[END, entry] = value_at, value_end
                    tokens[SIZE, entry] = size if kind == STRING else value_end - value_at
                    if key < _FIRST_PROPERTY:
                        fields[np.uint64(key), row] = token_count
                    else:
                        properties += 1
                    token_count += 1
                at = _skip_space(data, at)
                closed = data[at] == 0x7D
                if not closed:
                    fine = data[at] == 0x2C
                    at = _skip_space(data, at + _U1) if fine else at
                    first = False
            if closed:
                at = _skip_space(data, at + _U1)
                if scope == 1 and not bare:
                    # Back in the outer object: another key, or its end.
                    scope, previous, first = np.int64(0), np.uint64(_PROPERTIES), False
                    if data[at] == 0x2C:
                        at = _skip_space(data, at + _U1)
                    elif data[at] == 0x7D:
                        at = _skip_space(data, at + _U1)
                        done = True
                    else:
                        fine = False
                else:
                    done = True
        fine = fine and data[at] == 0x0A and properties <= properties_max and np.int64(at - begin) <= line_max
        if not fine:
            token_count = first_token
            for field in range(np.uint64(fields.shape[0])):
                fields[field, row] = -1
            while data[at] != 0x0A:
                at += _U1
        odd[row] = not fine
        lines[LINE_AT, row], lines[LINE_END, row], lines[LINE_NUMBER, row] = begin, at, number
        at += _U1
    state[TOKENS], state[KEYS], state[POSITION] = token_count, key_count, np.int64(at)


@kernel(f"void({view('uint8')}, int64[:,::1], int32[::1], int64)")
def rebuild_slots(data, keys, slots, key_count):  # type: ignore[no-untyped-def]
    """Fills empty (-1) slots with the first ``key_count`` keys."""
    for key in range(np.uint64(key_count)):
        at, end = np.uint64(keys[KEY_AT, key]), np.uint64(keys[KEY_END, key])
        _, slot = find_key(data, at, end, keys[KEY_SCOPE, key], keys, key_count, slots)
        slots[slot] = np.int32(key)
