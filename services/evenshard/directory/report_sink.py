"""Where a tenant's weekly report goes, and to whom: ``file:DIR``, ``webhook:URL`` or ``smtp:HOST[:PORT]``; mail
addresses. Pure: nothing here looks whether they are there."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from evenshard.errors import EvenshardError, FieldFault

OWNERS_MAX: Final = 20
ADDRESS_CHARACTERS_MAX: Final = 254
SINK_CHARACTERS_MAX: Final = 2_000
SMTP_PORT: Final = 25
Kind = Literal["file", "webhook", "smtp"]
FORMS: Final = "file:DIR, webhook:URL or smtp:HOST[:PORT]"
# One @ with something on both sides, nothing that a mail header or a list of addresses would read otherwise.
_ADDRESS: Final = re.compile(r"[^\s@,;:<>()\"\\\x00-\x20\x7f]+@[^\s@,;:<>()\"\\\x00-\x20\x7f]+")
_HOST: Final = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)(?::(?P<port>\d{1,5}))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Sink:
    """Where reports go."""

    kind: Kind
    target: str
    """A directory, a URL or a host."""
    port: int = 0
    """Of smtp."""


def parse_sink(text: str) -> Sink:
    """Raises ``QUERY_INVALID``, naming ``report_sink``, for what is none."""
    kind, colon, target = text.partition(":")
    if not colon or not target.strip():
        raise _wrong("report_sink", f"{text!r} is none of {FORMS}")
    if len(text) > SINK_CHARACTERS_MAX or any(ord(each) < 32 or ord(each) == 127 for each in text):
        raise _wrong("report_sink", f"longer than {SINK_CHARACTERS_MAX} characters, or with one that cannot be shown")
    match kind:
        case "file":
            if not target.startswith("/"):
                raise _wrong("report_sink", f"{target!r} is no absolute path: who sends reports may stand anywhere")
            return Sink("file", target)
        case "webhook":
            return Sink("webhook", _url(target))
        case "smtp":
            found = _HOST.fullmatch(target)
            port = int(found["port"] or SMTP_PORT) if found else 0
            if found is None or not 1 <= port <= 65_535:
                raise _wrong("report_sink", f"{target!r} is no HOST or HOST:PORT")
            return Sink("smtp", found["host"].strip("[]"), port)
    raise _wrong("report_sink", f"{text!r} is none of {FORMS}")


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if not whole or " " in text:
        raise _wrong("report_sink", f"{text!r} is no http or https URL")
    return text


def check_owners(owners: Sequence[str]) -> None:
    """Raises ``QUERY_INVALID``, naming ``owners``, for what is no list of mail addresses."""
    if len(owners) > OWNERS_MAX:
        raise _wrong("owners", f"at most {OWNERS_MAX} addresses, not {len(owners)}")
    for address in owners:
        if len(address) > ADDRESS_CHARACTERS_MAX or not _ADDRESS.fullmatch(address):
            raise _wrong("owners", f"{address!r} is no mail address")


def check_reports(owners: Sequence[str], sink: str) -> None:
    """Both, and that a mail has somebody to go to. Raises ``QUERY_INVALID``."""
    check_owners(owners)
    if sink and parse_sink(sink).kind == "smtp" and not owners:
        raise _wrong("report_sink", "smtp needs somebody to write to: give an owner")


def _wrong(field: str, problem: str) -> EvenshardError:
    return EvenshardError("QUERY_INVALID", f"{field}: {problem}", fields=(FieldFault(field, problem),))
