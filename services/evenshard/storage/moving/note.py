"""The payload of a copied frame: a note of which move brought it and how far that is with it, then an event batch."""

import json
import struct
from dataclasses import asdict, dataclass

_LENGTH = struct.Struct("<Q")
_ALIGNED = 64


@dataclass(frozen=True, slots=True)
class Note:
    """Of a frame of copied rows."""

    move: str
    """Its name."""
    position: int
    """Of the source's log: everything before is here with it."""


def with_note(note: Note, ipc: bytes) -> bytes:
    """A copied frame's payload; the batch begins at a multiple of 64 bytes."""
    text = json.dumps(asdict(note), separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-(_LENGTH.size + len(text)) % _ALIGNED)
    return _LENGTH.pack(len(text)) + text + ipc


def noted(payload: bytes) -> tuple[Note, memoryview]:
    """What ``with_note`` joined; raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else."""
    if len(payload) < _LENGTH.size:
        raise ValueError("a copied frame has no note")
    (length,) = _LENGTH.unpack_from(payload)
    end = _LENGTH.size + length
    record = json.loads(payload[_LENGTH.size : end])
    return Note(record["move"], record["position"]), memoryview(payload)[end:]
