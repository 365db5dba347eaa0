"""A service's record in the directory: where it serves, since it does, and why not where it does not."""

import asyncio
import os
import socket
from typing import Final

from evenshard.api.v1 import shard_pb2
from evenshard.directory.keys import service_key
from evenshard.directory.service import Kind, ServiceRecord, labels_of
from evenshard.errors import EvenshardError
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.peers import Peers
from evenshard.runtime.logs import logger
from evenshard.runtime.service import ServiceOptions
from evenshard.wire.rpcs import GET_SHARD_LOAD

UNREGISTER_TIMEOUT_S: Final = 3.0
LIVE_TIMEOUT_S: Final = 1.0
"""For a shard of the same name to say that it is there."""
TELL_EVERY_S: Final = 0.5
"""A record is written again for another reason at most so often."""
KEEPS_NOTHING: Final[frozenset[Kind]] = frozenset(["router", "gateway"])
"""Whoever of these is gone for good is missed by nobody."""
KEEP_ALIVES_PER_TTL: Final = 3


class Registration:
    """The service's record in the directory: written when it serves, and before where there is a reason to tell."""

    def __init__(self, directory: Directory, options: ServiceOptions) -> None:
        self.reason = ""
        self._note = ""
        self._labels = labels_of(options.settings.shard_labels) if options.kind == "shard" else {}
        self._directory = directory
        self._options = options
        self._key = service_key(options.name)
        self._value = b""
        self._address = ""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._one = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._ttl_s = options.settings.record_seconds if options.kind in KEEPS_NOTHING else 0
        self._lease = 0

    def begin(self, address: str) -> None:
        """From now on what is told is written."""
        self._address = address
        self._tasks.append(asyncio.create_task(self._tell(), name="telling how it is"))
        if self._ttl_s:
            self._tasks.append(asyncio.create_task(self._keep(), name="keeping the record"))

    async def put(self) -> None:
        async with self._one:
            options = self._options
            self._value = ServiceRecord(
                options.name,
                options.kind,
                self._address,
                socket.gethostname(),
                os.getpid(),
                options.restarts,
                self.reason,
                self._note,
                self._labels,
            ).to_json()
            await self._directory.swap([], [Put(self._key, self._value, await self._granted())])

    async def check_free(self, address: str, peers: Peers) -> None:
        """Raises ``OPERATION_CONFLICT`` where another process serves as the shard of this name: two that think they
        hold the same data would each take rows that the other never sees."""
        if self._options.kind != "shard":
            return
        entry = await self._directory.get(self._key)
        record = None if entry is None else ServiceRecord.from_json(entry.value)
        if record is None or record.address in ("", address):
            return
        try:
            answer = await peers.call(
                record.address, GET_SHARD_LOAD, shard_pb2.GetShardLoadRequest(), timeout_s=LIVE_TIMEOUT_S
            )
        except EvenshardError:
            return  # nobody is there, or somebody else
        if answer.load.shard == record.name:
            raise EvenshardError(
                "OPERATION_CONFLICT",
                f"{record.name} is served at {record.address} already, by process {record.pid} on {record.host}",
                hint="give each shard a name of its own: --name",
                details={"shard": record.name, "address": record.address},
            )

    def waits(self, reason: str) -> None:
        """What is waited for before there is a directory to write it down in."""
        self.reason = reason

    def tell(self, reason: str) -> None:
        """See ``Ports.tell``."""
        self._loop.call_soon_threadsafe(self._told, reason)

    def say(self, note: str) -> None:
        """See ``Ports.note``."""
        self._loop.call_soon_threadsafe(self._said, note)

    def _said(self, note: str) -> None:
        if note != self._note:
            self._note = note
            self._changed.set()

    def _told(self, reason: str) -> None:
        if reason != self.reason:
            self.reason = reason
            self._changed.set()

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.put()
            except EvenshardError as error:
                logger().warning("record not written", code=error.code, message=error.message)
            await asyncio.sleep(TELL_EVERY_S)

    async def _granted(self) -> int:
        if self._ttl_s and not self._lease:
            self._lease = await self._directory.grant(self._ttl_s)
        return self._lease

    async def _keep(self) -> None:
        """The lease under which the record stands; where it has lapsed, both are made anew."""
        while True:
            await asyncio.sleep(self._ttl_s / KEEP_ALIVES_PER_TTL)
            if not self._value:
                continue  # nothing is written down yet
            try:
                if not self._lease or not await self._directory.keep_alive(self._lease):
                    self._lease = 0
                    await self.put()
            except EvenshardError as error:
                logger().warning("record not kept", code=error.code, message=error.message)

    async def remove(self) -> None:
        """Unless another process has taken the name. A shard's stays: it holds data, and is missed while it is away.
        Without a directory the record stays, and shows a dead service."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._value or self._options.kind == "shard":
            return
        try:
            entry = await self._directory.get(self._key, timeout_s=UNREGISTER_TIMEOUT_S)
            if entry is not None and entry.value == self._value:
                await self._directory.swap(
                    [Unchanged(self._key, entry.revision)], [Delete(self._key)], timeout_s=UNREGISTER_TIMEOUT_S
                )
        except EvenshardError as error:
            logger().warning("record not removed", code=error.code, message=error.message)
