"""A servicer that does as the request's ``tenant`` says, to see calls, deadlines, traces and errors from both ends."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from evenshard.api.v1 import shard_pb2, shard_pb2_grpc
from evenshard.errors import EvenshardError, FieldFault
from evenshard.runtime.call import current_call
from evenshard.runtime.service import Servicer
from evenshard.wire.rpcs import SHARD_SERVICE

ANSWER_BYTES: Final = 1 << 20


@dataclass
class Probe(shard_pb2_grpc.ShardServiceServicer):
    """``Scan`` and ``ScanRows`` by command: ``echo``, ``call`` (trace id and seconds left), ``sleep``, ``refuse``,
    ``crash``, ``count`` (``epoch`` answers), ``endless``, ``broken`` (two answers, then an error)."""

    started: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    answers: int = 0

    async def Scan(self, request: Any, context: Any) -> Any:
        return shard_pb2.ScanResponse(partial=await self._do(request))

    async def ScanRows(self, request: Any, context: Any) -> AsyncIterator[Any]:
        command = request.tenant
        self.started.append(command)
        try:
            if command == "refuse":
                raise refusal()
            number = 0
            while command in ("endless", "broken") or number < request.epoch:
                if command == "broken" and number == 2:
                    raise refusal()
                self.answers += 1
                padding = b"x" * ANSWER_BYTES if command == "endless" else b""
                yield shard_pb2.ScanRowsResponse(arrow_ipc=str(number).encode() + padding)
                number += 1
        finally:
            self.ended.append(command)

    async def _do(self, request: Any) -> bytes:
        command = request.tenant
        self.started.append(command)
        try:
            match command:
                case "echo":
                    return bytes(request.scan)
                case "call":
                    call = current_call()
                    return f"{call.trace_id} {call.remaining_s():.3f} {call.principal.name}".encode()
                case "sleep":
                    await asyncio.sleep(request.epoch / 1000)
                    return b"woken"
                case "block":  # the whole process
                    time.sleep(request.epoch / 1000)  # noqa: ASYNC251
                    return b"woken"
                case "refuse":
                    raise refusal()
                case "crash":
                    raise ZeroDivisionError("crashed as told")
                case _:
                    raise EvenshardError("QUERY_INVALID", f"no such command: {command}")
        finally:
            self.ended.append(command)

    def servicer(self) -> Servicer:
        return Servicer(SHARD_SERVICE, shard_pb2_grpc.add_ShardServiceServicer_to_server, self)


def refusal() -> EvenshardError:
    """An error with everything an error can have."""
    return EvenshardError(
        "SHARD_UNAVAILABLE",
        "shard-7 is away: ä",
        hint="wait for shard-7",
        in_doubt=True,
        retry_after_ms=1234,
        fields=(FieldFault("tenant", "asks for it"),),
        details={"shard": "shard-7"},
    )


def ask(command: str, number: int = 0, payload: bytes = b"") -> Any:
    """The request of ``Scan``."""
    return shard_pb2.ScanRequest(tenant=command, epoch=number, scan=payload)


def ask_rows(command: str, number: int = 0) -> Any:
    """The request of ``ScanRows``."""
    return shard_pb2.ScanRowsRequest(tenant=command, epoch=number)
