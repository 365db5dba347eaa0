"""Refuses requests that say more than this version understands: it would answer another question than was asked."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from evenshard.errors import EvenshardError, FieldFault

NAMED_MAX: Final = 10
"""Fields an error names."""


def refuse_unknown(request: Message) -> None:
    """Raises ``QUERY_INVALID`` where the request, or a message in it, has fields of a later protocol, or of none."""
    known = type(request)()
    known.CopyFrom(request)
    known.DiscardUnknownFields()
    if known.ByteSize() == request.ByteSize():  # an unknown field has two bytes at least
        return
    names = list(islice(_unknown(request, ""), NAMED_MAX))
    if names:
        raise EvenshardError(
            "QUERY_INVALID",
            f"the request has fields this version does not know: {', '.join(names)}",
            hint="they are of a later version, or not delivered yet: leave them out",
            fields=tuple(FieldFault(name, "is not known here") for name in names),
        )


def _unknown(message: Message, path: str) -> Iterator[str]:
    """By path and number, as ``options.3``; a field given several times is named once."""
    unknown = UnknownFieldSet(message)
    for number in dict.fromkeys(unknown[at].field_number for at in range(len(unknown))):
        yield f"{path}{number}"
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        for at, inner in enumerate(value) if field.is_repeated else [(None, value)]:
            yield from _unknown(inner, f"{path}{field.name}." if at is None else f"{path}{field.name}[{at}].")
