"""Every process of the cluster with its health now: the directory's list, each asked at the same time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from evenshard.directory.keys import SERVICES
from evenshard.directory.service import ServiceRecord
from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.directory import Directory
from evenshard.ports.peers import Peers
from evenshard.runtime.process_info import rss_bytes
from evenshard.runtime.services import ServiceView
from evenshard.wire.health import HEALTH_CHECK, health_request, is_serving, status_name

Status = Literal["SERVING", "NOT_SERVING", "UNREACHABLE"]

CHECK_TIMEOUT_S: Final = 1.0
CHECKS_AT_ONCE: Final = 64
ETCD_PID_UNKNOWN: Final = 0


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """A process and how it is."""

    record: ServiceRecord
    status: Status
    reason: str
    """Why not, where it is not serving; else what somebody should look at."""
    rss_bytes: int | None
    """``None``: it runs on another machine, or does not answer."""


@dataclass(frozen=True, slots=True)
class ClusterHealth:
    """All processes, by kind and name, and the directory's revision."""

    healthy: bool
    revision: Revision
    services: tuple[ServiceHealth, ...]


class ClusterStatus:
    """``etcd``: endpoints to name where nobody has listed etcd in the directory, as where it is not ours."""

    def __init__(
        self, directory: Directory, services: ServiceView, peers: Peers, host: str, etcd: Sequence[str] = ()
    ) -> None:
        self._directory = directory
        self._services = services
        self._peers = peers
        self._host = host
        self._etcd = etcd

    async def now(self) -> ClusterHealth:
        """Answers within about two seconds, also where the directory does not."""
        answers = True
        try:
            snapshot = await self._directory.range(SERVICES, timeout_s=CHECK_TIMEOUT_S)
            records = [ServiceRecord.from_json(entry.value) for entry in snapshot.entries]
            revision = snapshot.revision
        except EvenshardError as error:
            if not error.retryable:
                raise
            records, revision, answers = self._services.all(), self._services.revision, False
        records += unlisted_etcd(records, self._etcd)
        at_once = asyncio.Semaphore(CHECKS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._check(record, at_once)) for record in records]
        services = sorted((task.result() for task in tasks), key=lambda each: (each.record.kind, each.record.name))
        healthy = answers and all(each.status == "SERVING" for each in services)
        return ClusterHealth(healthy, revision, tuple(services))

    async def _check(self, record: ServiceRecord, at_once: asyncio.Semaphore) -> ServiceHealth:
        async with at_once:
            try:
                answer = await self._peers.call(
                    record.address, HEALTH_CHECK, health_request(), timeout_s=CHECK_TIMEOUT_S
                )
                name = status_name(answer)
                status: Status = "SERVING" if is_serving(answer) else "NOT_SERVING"
                if record.reason:
                    status, reason = "NOT_SERVING", record.reason
                else:
                    reason = record.note if status == "SERVING" else f"it says {name}"
            except EvenshardError as error:
                status, reason = failed_check(error)
        return ServiceHealth(record, status, reason, self._memory(record, status))

    def _memory(self, record: ServiceRecord, status: Status) -> int | None:
        """Only of a process that answers: the number of a dead one may be another's by now."""
        if status == "UNREACHABLE" or record.host != self._host or not record.pid:
            return None
        return rss_bytes(record.pid)


def failed_check(error: EvenshardError) -> tuple[Status, str]:
    """What a failed health check says of the process: nobody answered, or it answered something else."""
    if error.code in ("UNREACHABLE", "DEADLINE_EXCEEDED"):
        return "UNREACHABLE", error.message
    return "NOT_SERVING", str(error)


def unlisted_etcd(records: Sequence[ServiceRecord], endpoints: Sequence[str]) -> list[ServiceRecord]:
    """A record for each endpoint where no etcd is listed; its process is not known."""
    if any(record.kind == "etcd" for record in records):
        return []
    return [
        ServiceRecord(f"etcd-{number}", "etcd", endpoint.split("://")[-1], "", ETCD_PID_UNKNOWN, 0)
        for number, endpoint in enumerate(endpoints)
    ]
