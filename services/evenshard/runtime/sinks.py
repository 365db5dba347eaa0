"""Delivers a weekly report: to a directory, a webhook or a mail server. Blocking; each with a deadline.

A delivery bears a name, tenant and week, by which its receiver can tell that it came twice: the names of the files, the
header ``Idempotency-Key``, the ``Message-ID``.
"""

import json
import os
import smtplib
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

from evenshard.directory.report_sink import Sink

TIMEOUT_S: Final = 10.0
"""Of one delivery."""
ANSWER_SHOWN_BYTES_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Delivery:
    """A report, in every form a sink may want."""

    tenant: str
    week: str
    owners: Sequence[str]
    subject: str
    text: str
    html: str
    document: Mapping[str, Any]
    """As ``report hot-keys --json`` prints it."""
    sender: str
    """Mail address."""
    sent_s: float
    """Since the epoch."""

    @property
    def name(self) -> str:
        """The same whenever the report of this tenant and week is delivered."""
        return f"hot-keys-{self.tenant}-{self.week}"


class NotDelivered(Exception):  # noqa: N818 - it says what it is
    """The sink did not take it; the message says what the sink said."""


def deliver(delivery: Delivery, sink: Sink, timeout_s: float = TIMEOUT_S) -> str:
    """Returns whom it did not reach although it was taken, for people; empty: it reached all. Raises
    ``NotDelivered``."""
    try:
        match sink.kind:
            case "file":
                return _to_directory(delivery, Path(sink.target))
            case "webhook":
                return _to_webhook(delivery, sink.target, timeout_s)
            case "smtp":
                return _to_mail(delivery, sink, timeout_s)
    except (OSError, smtplib.SMTPException, ValueError) as failed:
        raise NotDelivered(f"{sink.kind}:{sink.target}: {_said(failed)}") from failed


def _to_directory(delivery: Delivery, folder: Path) -> str:
    """Both files are there whole, or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    forms = {".json": json.dumps(delivery.document, ensure_ascii=False, indent=1) + "\n", ".html": delivery.html}
    for ending, text in forms.items():
        partial = folder / f".{delivery.name}{ending}.{os.getpid()}"
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(folder / (delivery.name + ending))
        finally:
            partial.unlink(missing_ok=True)
    return ""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET, without the report."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _to_webhook(delivery: Delivery, url: str, timeout_s: float) -> str:
    body = {
        "kind": "hot_key_report",
        "week": delivery.week,
        "subject": delivery.subject,
        "owners": list(delivery.owners),
        "report": delivery.document,
    }
    request = urllib.request.Request(
        url,
        data=json.dumps(body, ensure_ascii=False).encode(),
        headers={"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": delivery.name},
        method="POST",
    )
    with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout_s) as answer:
        if not 200 <= answer.status < 300:
            raise ValueError(f"it answered {answer.status}")
    return ""


def _to_mail(delivery: Delivery, sink: Sink, timeout_s: float) -> str:
    message = EmailMessage()
    message["Subject"] = delivery.subject
    message["From"] = delivery.sender
    message["To"] = ", ".join(delivery.owners)
    message["Date"] = formatdate(delivery.sent_s)
    message["Message-ID"] = f"<{delivery.name}@evenshard.invalid>"
    message.set_content(delivery.text)
    message.add_alternative(delivery.html, subtype="html")
    with smtplib.SMTP(sink.target, sink.port, timeout=timeout_s) as server:
        refused = server.send_message(message, delivery.sender, list(delivery.owners))
    return "; ".join(f"{address}: {_answer(*answer)}" for address, answer in refused.items())


def _said(failed: Exception) -> str:
    """What the other side said, or why it could not be asked."""
    match failed:
        case urllib.error.HTTPError():
            said = failed.read(ANSWER_SHOWN_BYTES_MAX).decode("utf-8", "replace").strip()
            failed.close()
            return f"it answered {failed.code} {failed.reason}" + (f": {said}" if said else "")
        case urllib.error.URLError():
            return str(failed.reason)
        case smtplib.SMTPRecipientsRefused():
            return "; ".join(f"{address} refused: {_answer(*answer)}" for address, answer in failed.recipients.items())
        case smtplib.SMTPResponseException():
            return f"it answered {_answer(failed.smtp_code, failed.smtp_error)}"
    return str(failed) or type(failed).__name__


def _answer(code: int, text: bytes | str) -> str:
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {said[:ANSWER_SHOWN_BYTES_MAX]}"
