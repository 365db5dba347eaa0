"""Reads a shard's directory by what docs/storage-format.md says, and by nothing else: no line of it is evenshard's."""

import base64
import json
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MASK = (1 << 64) - 1
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
Row = dict[str, Any]


def rotl(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (64 - bits))) & MASK


def round_(a: int, x: int) -> int:
    return rotl((a + x * P2) & MASK, 31) * P1 & MASK


def finished(v: int) -> int:
    v = (v ^ (v >> 33)) * P2 & MASK
    v = (v ^ (v >> 29)) * P3 & MASK
    return v ^ (v >> 32)


def xxh64(data: bytes) -> int:
    at, v = 0, P5
    if len(data) >= 32:
        lanes = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        while at + 32 <= len(data):
            lanes = [round_(a, x) for a, x in zip(lanes, struct.unpack_from("<4Q", data, at), strict=True)]
            at += 32
        v = sum(rotl(a, bits) for a, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for a in lanes:
            v = ((v ^ round_(0, a)) * P1 + P4) & MASK
    v = (v + len(data)) & MASK
    while at + 8 <= len(data):
        v = (rotl(v ^ round_(0, *struct.unpack_from("<Q", data, at)), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= len(data):
        v = (rotl(v ^ (struct.unpack_from("<I", data, at)[0] * P1 & MASK), 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        v = rotl(v ^ (byte * P5 & MASK), 11) * P1 & MASK
    return finished(v)


def identity_hash(tenant: str, row: Row) -> int:
    v = round_(xxh64(tenant.encode()), xxh64(row["event"].encode()))
    for x in (xxh64(row["distinct_id"].encode()), row["time"], xxh64((row["insert_id"] or "").encode())):
        v = (rotl(v ^ round_(0, x), 27) * P1 + P4) & MASK
    return finished(v) or 1


def placement_hash(tenant: str, row: Row) -> int:
    return xxh64(row["distinct_id"].encode()) if row["distinct_id"] else identity_hash(tenant, row)


def catalog(root: Path) -> dict[str, Any]:
    """Value of each key, JSON parsed; every checksum verified."""
    connection = sqlite3.connect(f"file:{root / 'catalog.sqlite'}?mode=ro", uri=True)
    values, total, digest = {}, 0, None
    for key, value, checksum in connection.execute("SELECT key, value, checksum FROM entries"):
        computed = xxh64(key.encode() + b"\0" + value)
        assert checksum == computed.to_bytes(8, "big"), key
        if key == "digest":
            digest = value
        else:
            total += computed
            is_json = key.split("/")[0] in (
                "tenant",
                "segment",
                "quarantine",
                "deletion",
                "hotkey",
                "original",
                "layer",
                "prepared",
                "move",
                "foreign",
            )
            values[key] = json.loads(value) if is_json else value
    connection.close()
    assert digest == (total & MASK).to_bytes(8, "big")
    assert int(values["meta/format"]) <= 6
    return values


def frames(root: Path) -> Iterator[tuple[str, int, list[Row]]]:
    """Tenant, position of the first row, rows of each frame, through all log files."""
    position = None
    for path in sorted((root / "log").glob("*.log")):
        data = path.read_bytes()
        magic, version, zero, number, first, _, checksum = struct.unpack_from("<8sIIQQ64sQ", data)
        assert (magic, zero, number) == (b"EVSHLOG\n", 0, int(path.stem))
        assert version in (1, 2)
        assert checksum == xxh64(data[:96])
        assert position in (None, first)
        position, at = first, 104
        while at < len(data):
            head = struct.unpack_from("<8sBBHIQQQQQQQQ", data, at)
            magic, kind, flags, n, r, own_number, offset, first, _, _, p, content_sum, head_sum = head
            assert (magic, own_number, offset, first) == (b"\xe5EVFRAM\n", number, at, position)
            tenant = data[at + 80 : at + 80 + n]
            assert head_sum == xxh64(data[at : at + 72] + tenant)
            at += 80 + n + -n % 8
            size = (r + 7) // 8
            bits = data[at : at + size]
            at += size + -size % 8
            hot = data[at : at + size] if flags & 1 else bytes(size)
            at += size + -size % 8 if flags & 1 else 0
            spread = data[at : at + size] if flags & 2 else b""
            at += size + -size % 8 if flags & 2 else 0
            assert version == 2 or (kind in (1, 2) and not flags & 2)
            payload = data[at : at + p]
            at += p + -p % 8
            both = struct.pack("<QQ", xxh64(bits + (hot if flags & 1 else b"") + spread), xxh64(payload))
            assert content_sum == xxh64(both)
            if kind in (1, 3):
                if kind == 3:  # behind a note
                    payload = payload[8 + int.from_bytes(payload[:8], "little") :]
                rows = pa.ipc.open_stream(payload).read_all().to_pylist()
                assert len(rows) == r
                for i, row in enumerate(rows):
                    row |= {"duplicate": bool(bits[i // 8] >> i % 8 & 1), "hot": bool(hot[i // 8] >> i % 8 & 1)}
                yield tenant.decode(), position, rows
            position += r


def segment(root: Path, info: dict[str, Any]) -> list[Row]:
    data = (root / info["files"][0]).read_bytes()
    length = int.from_bytes(data[-8:-4], "little") + 8
    assert xxh64(data[-length:]) == info["footer_checksum"]
    metadata = pq.read_metadata(pa.BufferReader(data)).metadata
    assert metadata[b"evenshard.format"] == b"1"
    assert metadata[b"evenshard.tenant"].decode() == info["tenant"]
    body = data[:-length]
    sums = struct.unpack(f"<{-(-len(body) // 16384)}Q", base64.b64decode(metadata[b"evenshard.block_checksums"]))
    assert list(sums) == [xxh64(body[at : at + 16384]) for at in range(0, len(body), 16384)]
    rows = pq.read_table(pa.BufferReader(data)).to_pylist()
    assert (len(rows), sum(row["duplicate"] for row in rows)) == (info["rows"], info["duplicates"])
    data = (root / info["files"][1]).read_bytes()
    may_contain, values_at = filter_of(data)
    may_hold = value_filter(data, values_at) if values_at < len(data) else None
    for row in rows:
        row.pop("spread", None)
        assert row.pop("placement_hash") == placement_hash(info["tenant"], row)
        assert row["insert_id"] is None or may_contain(identity_hash(info["tenant"], row))
        assert may_hold is None or all(may_hold(column, value) for column, value in values_of(row))
    return rows


def filter_of(data: bytes) -> tuple[Any, int]:
    """What tells, and where it ends."""
    magic, version, buckets, keys = struct.unpack_from("<8sIIQ", data)
    assert magic == b"EVSFILTR"
    end = len(data)
    if version == 3:
        end = 24 + 8 * ((buckets + keys) // 64 + 2 if buckets else 0) + 4 * (buckets // 16) + 2 * (keys + 2) + 8
    data = data[:end]
    assert int.from_bytes(data[-8:], "little") == xxh64(data[:-8])
    if version in (2, 3):
        return bucket_filter(data, buckets, keys), end
    magic, version, seed, length, count, keys = struct.unpack_from("<8sIQIIQ", data)
    assert version == 1
    prints = struct.unpack_from(f"<{(count + 2) * length if keys else 0}H", data, 36)

    def may_contain(value: int) -> bool:
        m = mixed(value + seed)
        h = m * count * length >> 64
        places = h, (h + length) ^ (m >> 18 & length - 1), (h + 2 * length) ^ (m & length - 1)
        return bool(keys) and prints[places[0]] ^ prints[places[1]] ^ prints[places[2]] == (m ^ (m >> 32)) & 0xFFFF

    return may_contain, end


def values_of(row: Row) -> Iterator[tuple[str, int]]:
    """Columns and hashes of a row's values, as keys are made of."""
    for name, value in row.items():
        if value is None or name in ("time", "duplicate", "hot"):
            continue
        if name in ("event", "distinct_id", "insert_id"):
            yield name, xxh64(value.encode())
            continue
        kind, _, known_as = name.partition(":")
        yield f":{known_as}", 0
        if kind == "s":
            yield name, xxh64(value.encode())
        elif kind in ("i", "d"):
            whole = value == int(value) and -(1 << 63) <= value < 1 << 63
            yield f"n:{known_as}", mixed(int(value) if whole else struct.unpack("<Q", struct.pack("<d", value))[0])
        elif kind == "b":
            yield name, int(value)


def value_filter(data: bytes, start: int) -> Any:
    magic, version, flags, pages, salt, first, checksum = struct.unpack("<8sHHIQQQ", data[-40:])
    assert (magic, version, flags & ~3, first) == (b"EVSVALUE", 1, 0, start)
    assert checksum == xxh64(data[-40:-8])
    ends_at = len(data) - 40 - 4 * (pages + 1)
    places = struct.unpack_from(f"<{pages + 1}I", data, ends_at)
    assert (places[0], places[-1]) == (0, ends_at - start)
    held: dict[int, set[int]] = {}
    for page in range(pages):
        content = data[start + places[page] : start + places[page + 1] - 8]
        assert int.from_bytes(data[start + places[page + 1] - 8 :][:8], "little") == xxh64(content)
        number, n = struct.unpack_from("<IH", content)
        bits = int.from_bytes(content[6 : 6 + (n + 256 + 7) // 8], "little")
        remainders = content[6 + (n + 256 + 7) // 8 :]
        assert (number, len(remainders)) == (page, n)
        bucket, key = 256 * page, 0
        for bit in range(n + 256):
            if bits >> bit & 1:
                held.setdefault(bucket, set()).add(remainders[key])
                key += 1
            else:
                bucket += 1
        assert (bucket, key) == (256 * (page + 1), n)

    def in_it(column: str, value: int) -> bool:
        place = (mixed(xxh64(column.encode()) ^ value ^ salt) >> 32) * 256 * pages >> 24
        return place & 255 in held.get(place >> 8, set())

    def may_hold(column: str, value: int) -> bool:
        silent = flags & 1 and ":" in column
        return bool(silent) or in_it(column, value) or (bool(flags & 2) and in_it("?" + column, 0))

    return may_hold


def mixed(value: int) -> int:
    m = value & MASK
    m = (m ^ (m >> 33)) * 0xFF51AFD7ED558CCD & MASK
    m = (m ^ (m >> 33)) * 0xC4CEB9FE1A85EC53 & MASK
    return m ^ (m >> 33)


def bucket_filter(data: bytes, buckets: int, keys: int) -> Any:
    words = (buckets + keys) // 64 + 2 if buckets else 0
    sizes = int.from_bytes(data[24 : 24 + 8 * words], "little")
    starts = struct.unpack_from(f"<{buckets // 16}I", data, 24 + 8 * words)
    remainders = struct.unpack_from(f"<{keys}H", data, 24 + 8 * words + 4 * len(starts))
    assert len(data) == 24 + 8 * words + 4 * len(starts) + 2 * (keys + 2) + 8
    held: list[list[int]] = [[] for _ in range(buckets)]
    key, bit = 0, 0
    for bucket in range(buckets):
        if bucket % 16 == 0:
            assert starts[bucket // 16] == key
        while sizes >> bit & 1:
            held[bucket].append(remainders[key])
            key, bit = key + 1, bit + 1
        bit += 1
    assert key == keys

    def may_contain(value: int) -> bool:
        m = mixed(value)
        return bool(buckets) and m & 0xFFFF in held[(m >> 32) * buckets >> 32]

    return may_contain


def shown(rows: list[Row], deletions: list[Row]) -> list[Row]:
    """Without those that were stored before a deletion which hides them."""
    return [
        row
        for row in rows
        if not any(
            row["distinct_id"] in each["users"] or (each["horizon_ms"] is not None and row["time"] < each["horizon_ms"])
            for each in deletions
        )
    ]


def read(root: Path) -> dict[str, list[Row]]:
    """Every row of each tenant that is not hidden, properties that are not set left out, in no order."""
    values = catalog(root)
    found: dict[str, list[Row]] = {}
    deletions: dict[str, list[Row]] = {}
    for key, value in values.items():
        if key.startswith("deletion/") and not value["retired"]:
            deletions.setdefault(key.split("/")[1], []).append(value)
    for key, info in values.items():
        if key.startswith("segment/"):
            layer = values.get(f"layer/{info['tenant']}/{info.get('layer', '')}")
            if layer is not None and not layer["shown"]:
                continue
            after = [each for each in deletions.get(info["tenant"], []) if each["seq"] > info.get("deletions_seen", 0)]
            found.setdefault(info["tenant"], []).extend(shown(segment(root, info), after))
    for tenant, position, rows in frames(root):
        if position >= values[f"tenant/{tenant}"]["mark"]:
            after = [each for each in deletions.get(tenant, []) if each["position"] > position]
            found.setdefault(tenant, []).extend(shown(rows, after))
    fields = ("event", "distinct_id", "time", "insert_id", "duplicate", "hot")
    return {
        tenant: [{name: value for name, value in row.items() if name in fields or value is not None} for row in rows]
        for tenant, rows in found.items()
    }
