"""Imports and queries of a real cluster while slots move in it: no call may fail, every answer must be right."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

import evenshard

BATCH_ROWS: Final = 200
START_MS: Final = 1_767_225_600_000
DATE: Final = "2026-01-01"
DAY_MS: Final = 86_400_000
USERS: Final = 500


@dataclass
class Load:
    """A context manager: from its start to its end one thread imports one batch after the other, and one asks how many
    events there are, which must be at least what was acknowledged before it asked and at most what was sent."""

    router: str
    gateway: str
    tenant: str
    pause_s: float = 0.0
    """Between two batches."""
    is_patient: bool = False
    """Calls may fail: a batch is sent again until all of it is acknowledged, a question is asked again."""
    sent: int = 0
    acked: int = 0
    asked: int = 0
    failures: list[str] = field(default_factory=list)
    longest_import_s: float = 0.0
    longest_query_s: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._import, self._ask)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _import(self) -> None:
        with evenshard.connect(self.router, tenant=self.tenant, timeout=30) as client:
            while not self._stop.is_set():
                rows = [event_of(number) for number in range(self.sent, self.sent + BATCH_ROWS)]
                self.sent += len(rows)
                began_s = time.monotonic()
                answer = self._sent(client, rows)
                if answer is None:
                    return
                self.longest_import_s = max(self.longest_import_s, time.monotonic() - began_s)
                if answer.accepted != len(rows) or (answer.duplicates and not self.is_patient):
                    self.failures.append(f"import: {answer.to_dict()}")
                    return
                self.acked += len(rows)
                self._stop.wait(self.pause_s)

    def _sent(self, client: evenshard.Client, rows: list[dict[str, Any]]) -> Any:
        """The answer in which all are accepted; None: it is over, or a call failed."""
        while True:
            try:
                answer = client.import_events(rows)
            except evenshard.EvenshardError as error:
                if not self.is_patient:
                    self.failures.append(f"import: {error}")
                    return None
            else:
                if answer.accepted == len(rows) or not self.is_patient:
                    return answer
            if self._stop.wait(0.1):
                return None

    def _ask(self) -> None:
        with evenshard.connect(self.router, self.gateway, tenant=self.tenant, timeout=30) as client:
            while not self._stop.is_set():
                acked, began_s = self.acked, time.monotonic()
                try:
                    found = counted(client)
                except evenshard.EvenshardError as error:
                    if self.is_patient and not self._stop.wait(0.1):
                        continue
                    self.failures.append(f"query: {error}")
                    return
                self.longest_query_s = max(self.longest_query_s, time.monotonic() - began_s)
                self.asked += 1
                if not acked <= found <= self.sent:
                    self.failures.append(f"query: {found} events where {acked} were acknowledged, {self.sent} sent")
                    return


def event_of(number: int) -> dict[str, Any]:
    """The same for the same number."""
    return {
        "event": ("view", "buy")[number % 2],
        "distinct_id": f"user-{number % USERS}",
        "time": START_MS + number % DAY_MS,
        "insert_id": f"i-{number}",
        "properties": {"number": number, "page": f"/page/{number % 97}"},
    }


def counted(client: evenshard.Client) -> int:
    """Events of the day, duplicates not counted."""
    answer = client.segmentation(from_date=DATE, to_date=DATE, unit="day", no_cache=True)
    return int(answer.to_dict()["series"][0]["overall"]) if answer.to_dict()["series"] else 0
