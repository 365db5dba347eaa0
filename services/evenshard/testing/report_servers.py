"""A mail server and a webhook on this machine, which keep what they are sent, or refuse it as they are told."""

import json
import socketserver
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class MailServer:
    """SMTP as far as a client that sends mail needs it (RFC 5321); a context manager."""

    refusals: list[str] = field(default_factory=list)
    """Answers to the next mails instead of taking them, as ``451 try again``."""
    refused_addresses: frozenset[str] = frozenset()
    mails: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    """To whom, and what."""
    port: int = 0
    _server: Any = None

    def __enter__(self) -> "MailServer":
        mailbox = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                mailbox.serve(self)

        self._server = _start(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
        self.port = self._server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        _stop(self._server)

    def serve(self, handler: socketserver.StreamRequestHandler) -> None:
        """One connection."""

        def say(line: str) -> None:
            handler.wfile.write(line.encode() + b"\r\n")

        say("220 here")
        recipients: list[str] = []
        while line := handler.rfile.readline().decode().strip():
            verb = line.split(" ")[0].upper()
            if verb == "RCPT":
                address = line.partition("<")[2].rstrip(">")
                if address in self.refused_addresses:
                    say("550 nobody of that name")
                    continue
                recipients.append(address)
                say("250 ok")
            elif verb == "DATA":
                say("354 go on")
                lines = iter(handler.rfile.readline, b".\r\n")
                data = b"".join(each[1:] if each.startswith(b"..") else each for each in lines)
                if self.refusals:
                    say(self.refusals.pop(0))
                    continue
                message = message_from_bytes(data, policy=policy.default)
                assert isinstance(message, EmailMessage)
                self.mails.append((recipients, message))
                say("250 taken")
            elif verb == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")


@dataclass
class WebhookServer:
    """HTTP; a context manager."""

    answers: list[int] = field(default_factory=list)
    """Statuses of the next answers instead of 204."""
    posts: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    """Headers and bodies of those that were taken."""
    refused: int = 0
    url: str = ""
    _server: Any = None

    def __enter__(self) -> "WebhookServer":
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = webhook.answers.pop(0) if webhook.answers else 204
                if status < 300:
                    webhook.posts.append((dict(self.headers), json.loads(body)))
                else:
                    webhook.refused += 1
                said = b"" if status < 300 else b"not today"
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", webhook.url)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def do_GET(self) -> None:
                """What a redirected POST would become: answered, without any report."""
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on stderr."""

        self._server = _start(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hot-keys"
        return self

    def __exit__(self, *_: object) -> None:
        _stop(self._server)


def _start(server: socketserver.BaseServer) -> socketserver.BaseServer:
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


def _stop(server: socketserver.BaseServer) -> None:
    server.shutdown()
    server.server_close()
