"""Runs the processes of a ``ClusterPlan``: starts all at once, says when all serve, restarts what dies, drains.

``run`` raises only while the cluster has not been ready; after that it goes on until it is told to stop.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from grpc_health.v1 import health_pb2

from evenshard.directory.keys import SERVICES, service_key
from evenshard.directory.service import ServiceRecord
from evenshard.errors import EvenshardError
from evenshard.ports.directory import Delete, Put
from evenshard.ports.peers import Rpc
from evenshard.runtime.child import Child
from evenshard.runtime.cluster_plan import DRAIN_STAGES, ClusterPlan, PlannedProcess, etcd_command, service_command
from evenshard.runtime.etcd import EtcdDirectory
from evenshard.runtime.peers import GrpcPeers

LIST_TIMEOUT_S: Final = 60.0
STAGE_ENDS_S: Final = (12.0, 25.0, 28.0)
"""When each stage of a drain is over, counted from its begin; what is alive then is killed."""
RESTART_DELAY_S_MIN: Final = 0.1
RESTART_DELAY_S_MAX: Final = 5.0
STABLE_AFTER_S: Final = 30.0
"""A child that ran this long is restarted without delay."""
POLL_S: Final = 0.05
LOG_CHECK_S: Final = 10.0
KILLED_WAIT_S: Final = 5.0
SAY_EVERY_S: Final = 5.0
"""What keeps services from serving is said so often; which are waited for, as long as they say nothing, too."""

_HEALTH_CHECK: Final[Rpc[Any, Any]] = Rpc(
    "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
)


class Supervisor:
    """Belongs to one event loop. ``say`` gets lines for people."""

    def __init__(
        self, plan: ClusterPlan, etcd_program: Sequence[str], say: Callable[[str], None], ready_timeout_s: float
    ) -> None:
        """``etcd_program`` is the server with flags of its own; not used where the plan runs none. ``ready_timeout_s``:
        how long services may take until they serve, without any word of getting on."""
        self._plan = plan
        self._etcd_program = etcd_program
        self._say = say
        self._ready_timeout_s = ready_timeout_s
        self._logs = logs = plan.data_dir / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._children = {
            each.name: Child(
                each.name,
                logs / f"{each.name}.log",
                # Services survive a kill by design; etcd, of some versions, does not.
                signal.SIGTERM if each.kind == "etcd" else signal.SIGKILL,
            )
            for each in plan.processes
        }
        self._delays_s = dict.fromkeys(self._children, RESTART_DELAY_S_MIN)
        self._due_s: dict[str, float] = {}
        self._directory = EtcdDirectory(plan.etcd_endpoints)
        self._peers = GrpcPeers()
        self._registering: asyncio.Task[None] | None = None
        self._reasons: dict[str, str] = {}
        """Why our services do not serve yet, as they say."""
        self._next_saying_s = 0.0

    async def run(self, on_ready: Callable[[], None], stop: asyncio.Event, kill: asyncio.Event) -> None:
        """Starts everything, calls ``on_ready``, supervises until ``stop``, drains; ``kill`` ends all at once. Raises
        the error of the child that could not start."""
        try:
            for process in self._plan.processes:
                self._start(process)
            if await self._until_ready(stop):
                on_ready()
                await self._supervise(stop)
        finally:
            await self._drain(kill)
            await self._peers.close()
            await self._directory.close()

    def _start(self, process: PlannedProcess) -> None:
        child = self._children[process.name]
        command = (
            etcd_command(self._etcd_program, process)
            if process.kind == "etcd"
            else service_command(self._plan, process, child.restarts)
        )
        child.start(command, _environment(self._plan.environment))
        if process.kind == "etcd":
            if self._registering is not None:
                self._registering.cancel()
            self._registering = asyncio.create_task(self._register_etcd(process))

    async def _until_ready(self, stop: asyncio.Event) -> bool:
        """False: told to stop before."""
        begun_s = time.monotonic()
        deadline_s = begun_s + self._ready_timeout_s
        missing = list(self._plan.processes)
        said: dict[str, str] = {}
        while not stop.is_set():
            for child in self._children.values():
                if not child.alive():
                    raise child.error()
            missing = await self._not_serving(missing)
            if self._reasons != said:  # it takes long, but gets on
                said, deadline_s = dict(self._reasons), time.monotonic() + self._ready_timeout_s
                self._say_now_and_then("; ".join(f"{name}: {reason}" for name, reason in sorted(said.items())))
            if not missing:
                if self._registering is not None:
                    await self._registering
                return True
            names = ", ".join(each.name for each in missing)
            if time.monotonic() > begun_s + SAY_EVERY_S and not said:
                compiling = "kernels that are not compiled yet take a minute or two"
                self._say_now_and_then(f"waiting for {names}; {compiling}; logs: {self._logs}")
            if time.monotonic() > deadline_s:
                raise EvenshardError("DEADLINE_EXCEEDED", f"not ready after {self._ready_timeout_s:g} s: {names}")
            await asyncio.sleep(POLL_S)
        return False

    async def _not_serving(self, processes: list[PlannedProcess]) -> list[PlannedProcess]:
        """Those that are not listed in the directory with the process id of our child, or do not say they serve."""
        try:
            snapshot = await self._directory.range(SERVICES, timeout_s=1.0)
            records = [ServiceRecord.from_json(entry.value) for entry in snapshot.entries]
        except EvenshardError:
            return processes
        listed = {record.name: record.pid for record in records}
        self._reasons = {
            record.name: record.reason
            for record in records
            if record.reason and record.name in self._children and self._children[record.name].pid == record.pid
        }
        return [
            each
            for each in processes
            if listed.get(each.name) != self._children[each.name].pid or not await self._serves(each.address)
        ]

    async def _serves(self, address: str) -> bool:
        try:
            answer = await self._peers.call(address, _HEALTH_CHECK, health_pb2.HealthCheckRequest(), timeout_s=1.0)
        except EvenshardError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _say_now_and_then(self, text: str) -> None:
        now_s = time.monotonic()
        if text and now_s >= self._next_saying_s:
            self._next_saying_s = now_s + SAY_EVERY_S
            self._say(text)

    async def _supervise(self, stop: asyncio.Event) -> None:
        log_check_s = time.monotonic() + LOG_CHECK_S
        while not stop.is_set():
            now_s = time.monotonic()
            for process in self._plan.processes:
                self._restart_if_dead(process, now_s)
            if now_s >= log_check_s:
                log_check_s = now_s + LOG_CHECK_S
                for child in self._children.values():
                    child.rotate_log()
            with contextlib.suppress(TimeoutError):  # the next look is due
                async with asyncio.timeout(POLL_S):
                    await stop.wait()

    def _restart_if_dead(self, process: PlannedProcess, now_s: float) -> None:
        name = process.name
        child = self._children[name]
        if name not in self._due_s:
            if child.alive():
                return
            if now_s - child.started_s >= STABLE_AFTER_S:
                self._delays_s[name] = RESTART_DELAY_S_MIN
            delay_s = self._delays_s[name]
            self._due_s[name] = now_s + delay_s
            self._delays_s[name] = min(RESTART_DELAY_S_MAX, 2 * delay_s)
            if child.exit_code() == 0:
                self._say(f"{name} ended (status 0), starting it again in {delay_s:.1f} s")
            else:
                error = child.error()
                self._say(f"{name} died ({error.code}: {error.message}); restarting it in {delay_s:.1f} s")
        if now_s >= self._due_s[name]:
            del self._due_s[name]
            child.restarts += 1
            self._start(process)

    async def _register_etcd(self, process: PlannedProcess) -> None:
        """Lists our etcd; and forgets what an earlier run listed and this one does not have. Shards stay: they hold
        data."""
        child = self._children[process.name]
        record = ServiceRecord(process.name, "etcd", process.address, socket.gethostname(), child.pid, child.restarts)
        try:
            snapshot = await self._directory.range(SERVICES, timeout_s=LIST_TIMEOUT_S)
            changes: list[Put | Delete] = [Put(service_key(process.name), record.to_json())]
            for entry in snapshot.entries:
                listed = ServiceRecord.from_json(entry.value)
                if listed.kind != "shard" and listed.name not in self._children:
                    changes.append(Delete(entry.key))
            await self._directory.swap([], changes)
        except EvenshardError as error:
            self._say(f"{process.name} could not be listed ({error.code}: {error.message})")

    async def _drain(self, kill: asyncio.Event) -> None:
        """Stage by stage; returns when no child is left."""
        if self._registering is not None:
            self._registering.cancel()
        begin_s = time.monotonic()
        for stage, end_s in enumerate(STAGE_ENDS_S):
            members = [self._children[each.name] for each in self._plan.processes if DRAIN_STAGES[each.kind] == stage]
            for child in members:
                child.terminate()
            await self._until_ended(members, begin_s + end_s, kill)
            for child in members:
                if child.alive():
                    if not kill.is_set():
                        self._say(f"{child.name} did not end in time and is killed")
                    child.signal(signal.SIGKILL)
        await self._until_ended(list(self._children.values()), time.monotonic() + KILLED_WAIT_S, asyncio.Event())

    async def _until_ended(self, children: Sequence[Child], until_s: float, unless: asyncio.Event) -> None:
        """Returns when all have ended, or time is up, or ``unless`` is set."""
        while time.monotonic() < until_s and not unless.is_set():
            if not any(child.alive() for child in children):
                return
            self._revive_etcd(children)
            await asyncio.sleep(POLL_S)

    def _revive_etcd(self, waited_for: Sequence[Child]) -> None:
        """A Ctrl-C reaches etcd as it reaches us, and etcd does not ignore it; the services need it to drain."""
        process = self._plan.own_etcd
        if process is None:
            return
        child = self._children[process.name]
        if child not in waited_for and child.exit_code() == -signal.SIGINT:
            child.start(etcd_command(self._etcd_program, process), _environment(self._plan.environment))


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours, with the settings; without what would configure the etcd we start."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ETCD_") or name == "ETCD_UNSUPPORTED_ARCH"
    }
    return inherited | dict(settings)
