"""The rows of a catalog in SQLite: keys and values, each with a checksum, and one digest over all of them.

SQLite does not notice flipped bits, so both are verified when rows are read, and the write-ahead log is emptied after
each change, since SQLite drops a damaged one in silence. What ``transaction`` ended for is durable.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from evenshard.errors import EvenshardError
from evenshard.storage.segment.checksum import checksum_of

FILE = "catalog.sqlite"

_SCHEMA = "CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID"
_MODULUS = 1 << 64
_DIGEST_KEY = "digest"

_DISK_FAULTS = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
)
_PRIMARY_CODE = 0xFF
"""SQLite's extended codes hold more detail above it."""

UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading raises; the second where SQLite's own message quotes damaged bytes."""


def damaged(what: str) -> NoReturn:
    """Raises ``DATA_DAMAGED``."""
    raise EvenshardError("DATA_DAMAGED", f"{FILE}: {what}", details={"file": FILE})


def unreadable(what: str, error: sqlite3.DatabaseError | UnicodeDecodeError) -> NoReturn:
    """Raises what one of ``UNREADABLE`` means: a disk that fails or is full is no damage, a later start may succeed."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & _PRIMARY_CODE
    if code not in _DISK_FAULTS:
        damaged(f"SQLite cannot {what} it: {error}")
    refused = "DISK_FULL" if code == sqlite3.SQLITE_FULL else "SHARD_UNAVAILABLE"
    raise EvenshardError(refused, f"{FILE}: SQLite cannot {what} it: {error}", details={"file": FILE}) from error


def _row_checksum(key: str, value: bytes) -> int:
    return checksum_of(key.encode() + b"\0" + value)


class CatalogRows:
    """Of one connection. Calls may come from any thread, one at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._checksums: dict[str, int] = {}
        """By key."""
        self._digest = 0
        self._stored_digest: bytes | None = None

    @property
    def exist(self) -> bool:
        """Whether there is a catalog."""
        return bool(self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    def create_table(self) -> None:
        """Within the first transaction."""
        self._connection.execute(_SCHEMA)

    def read(self) -> dict[str, bytes]:
        """All rows, once each was verified. Raises ``DATA_DAMAGED``, and ``UNREADABLE``."""
        (verdict,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            damaged(f"SQLite finds it damaged: {verdict}")
        values: dict[str, bytes] = {}
        for key, value, checksum in self._connection.execute("SELECT key, value, checksum FROM entries"):
            if not isinstance(key, str) or not isinstance(value, bytes):
                damaged(f"row {key!r} is not of the types written")
            actual = _row_checksum(key, value)
            if checksum != actual.to_bytes(8, "big"):
                damaged(f"the checksum of row {key!r} does not match")
            if key == _DIGEST_KEY:
                self._stored_digest = value
                continue
            self._checksums[key] = actual
            self._digest = (self._digest + actual) % _MODULUS
            values[key] = value
        return values

    def check_digest(self) -> None:
        """Of what was read. Raises ``DATA_DAMAGED``."""
        if self._stored_digest != self._digest.to_bytes(8, "big"):
            damaged("the digest over its rows does not match: rows are missing or changed")

    @contextmanager
    def transaction(self) -> Iterator["Changes"]:
        """All of the changes, durable, or, where anything fails, none of them. To be followed by ``empty_log``."""
        changes = Changes(self._connection, dict(self._checksums), self._digest)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield changes
            changes.write_digest()
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._checksums, self._digest = changes.checksums, changes.digest

    def empty_log(self) -> None:
        """Everything committed stands in the database's own file then, and only there."""
        busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("the write-ahead log is in use by another connection")

    def write_anew(self) -> None:
        """Pages that were split may hold copies of rows that moved: after this there are none."""
        self._connection.execute("VACUUM")
        self.empty_log()

    def close(self) -> None:
        self._connection.close()


class Changes:
    """Rows written by one transaction, with the digest they lead to."""

    def __init__(self, connection: sqlite3.Connection, checksums: dict[str, int], digest: int) -> None:
        self._connection = connection
        self.checksums = checksums
        self.digest = digest
        self.written: dict[str, bytes | None] = {}
        """By key; None: it was removed."""

    def put(self, key: str, value: bytes) -> None:
        checksum = self._store(key, value)
        self.digest = (self.digest - self.checksums.get(key, 0) + checksum) % _MODULUS
        self.checksums[key] = checksum
        self.written[key] = value

    def add(self, key: str, value: bytes) -> None:
        if key in self.checksums:
            raise ValueError(f"{key} exists already")
        self.put(key, value)

    def replace(self, key: str, value: bytes) -> None:
        if key not in self.checksums:
            raise ValueError(f"{key} does not exist")
        self.put(key, value)

    def remove(self, key: str) -> None:
        if key not in self.checksums:
            raise ValueError(f"{key} does not exist")
        self._connection.execute("DELETE FROM entries WHERE key = ?", (key,))
        self.digest = (self.digest - self.checksums.pop(key)) % _MODULUS
        self.written[key] = None

    def write_digest(self) -> None:
        self._store(_DIGEST_KEY, self.digest.to_bytes(8, "big"))

    def _store(self, key: str, value: bytes) -> int:
        checksum = _row_checksum(key, value)
        self._connection.execute(
            "INSERT OR REPLACE INTO entries (key, value, checksum) VALUES (?, ?, ?)",
            (key, value, checksum.to_bytes(8, "big")),
        )
        return checksum
