"""Watches a prefix of etcd: every change once and in order, across lost connections, restarts and compactions.

A stream begins *at* the last revision given, not after it, and what that revision held is dropped again: so a history
compacted anywhere beyond what was given is told by etcd, also where only a deletion was lost (etcd forgets a deletion
at the very revision it compacts to, and would not say so).
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import grpc
import grpc.aio

from evenshard.api.etcd import rpc_pb2 as rpc
from evenshard.ids import Revision
from evenshard.ports.directory import Changes, Entry, Snapshot
from evenshard.runtime.etcd_members import BACKOFF_S_MAX, BACKOFF_S_MIN, Member, Members

CREATED_TIMEOUT_S: Final = 5.0
"""How long etcd may take to confirm a watch."""
QUIET_S: Final = 5.0
"""After this long without a word the member is asked something, to see that it is there."""
CHECK_TIMEOUT_S: Final = 3.0
PATIENCE_S: Final = 10.0
"""How long a watch tries to stand again before it says that the directory is away."""
RELOAD_TIMEOUT_S: Final = 10.0
_LEADER_NEEDED: Final = (("hasleader", "true"),)
"""A member cut off from the others ends the watch, so that the next member is asked."""


class _LostError(Exception):
    """The stream ended; it is resumed."""


class _HistoryGoneError(Exception):
    """What happened after the revision asked for cannot be told any more."""


async def watch(members: Members, prefix: str, after: Revision) -> AsyncGenerator[Changes, None]:
    """As ``Directory.watch``."""
    loop = asyncio.get_running_loop()
    stood_at_s, backoff_s = loop.time(), BACKOFF_S_MIN
    while True:
        try:
            async with aclosing(_stream(members, prefix, after)) as stream:
                async for changes in stream:
                    after = changes.revision
                    yield changes
                    stood_at_s, backoff_s = loop.time(), BACKOFF_S_MIN
        except _HistoryGoneError:
            snapshot = await read_range(members, prefix, RELOAD_TIMEOUT_S)
            after = snapshot.revision
            yield Changes(snapshot.entries, (), after, reload=True)
        except _LostError as error:
            if members.closed or loop.time() - stood_at_s >= PATIENCE_S:
                raise members.unavailable(f"the watch does not stand: {error}") from error
            await asyncio.sleep(backoff_s)
            backoff_s = min(BACKOFF_S_MAX, 2 * backoff_s)


async def read_range(members: Members, prefix: str, timeout_s: float) -> Snapshot:
    """As ``Directory.range``."""
    answer = await _range(members, rpc.RangeRequest(**_keys(prefix)), timeout_s)
    return Snapshot([entry(kv) for kv in answer.kvs], Revision(answer.header.revision))


def entry(kv: rpc.KeyValue) -> Entry:
    return Entry(kv.key.decode(), kv.value, Revision(kv.mod_revision))


async def _stream(members: Members, prefix: str, after: Revision) -> AsyncGenerator[Changes, None]:
    """The changes one connection tells; raises ``_LostError`` when it breaks."""
    member = await members.reached(PATIENCE_S)
    if member is None:
        raise _LostError("not connected")
    call = member.watch.Watch(metadata=_LEADER_NEEDED)
    try:
        async with asyncio.timeout(CREATED_TIMEOUT_S):
            create = rpc.WatchCreateRequest(start_revision=max(1, after), progress_notify=True, **_keys(prefix))
            await members.guarded(call.write(rpc.WatchRequest(create_request=create)))
            created = await _read(members, call)
        if created.header.revision < after:
            await _check_not_restored(members, prefix, after)
        yield Changes((), (), after)
        while True:
            response = await _read(members, call, member)
            for changes in _told(response, after):
                after = changes.revision
                yield changes
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
        members.failed(member)
        why = f"{error.code().name} {error.details()}" if isinstance(error, grpc.aio.AioRpcError) else str(error)
        raise _LostError(why) from error
    except TimeoutError as error:
        members.failed(member)
        raise _LostError("the watch was not confirmed") from error
    except _LostError:
        members.failed(member)
        raise
    finally:
        call.cancel()


async def _read(members: Members, call: Any, silent: Member | None = None) -> rpc.WatchResponse:
    """The next response that is not the watch's end. Silence may last, as long as the member ``silent`` answers."""
    reading = asyncio.ensure_future(call.read())
    try:
        while silent is not None and not (await asyncio.wait({reading}, timeout=QUIET_S))[0]:
            await members.guarded(silent.kv.Range(rpc.RangeRequest(key=b"\0", limit=1), timeout=CHECK_TIMEOUT_S))
        response = await members.guarded(reading)
    finally:
        if not reading.cancel() and not reading.cancelled():
            reading.exception()  # seen: where the check failed first, that is what is raised
    if response is grpc.aio.EOF:  # type: ignore[attr-defined]
        raise _LostError("etcd ended the stream")
    if response.compact_revision:
        raise _HistoryGoneError
    if response.canceled:
        raise _LostError(f"etcd cancelled the watch: {response.cancel_reason}")
    result: rpc.WatchResponse = response
    return result


def _told(response: rpc.WatchResponse, after: Revision) -> list[Changes]:
    """One ``Changes`` a revision beyond ``after``; of a response without events (progress) an empty one."""
    if not response.events:
        return [Changes((), (), Revision(max(after, response.header.revision)))]
    told = []
    for revision, group in itertools.groupby(response.events, lambda event: event.kv.mod_revision):
        if revision > after:
            events = list(group)
            entries = [entry(event.kv) for event in events if event.type == rpc.Event.PUT]
            deleted = [event.kv.key.decode() for event in events if event.type == rpc.Event.DELETE]
            told.append(Changes(entries, deleted, Revision(revision)))
    return told


async def _check_not_restored(members: Members, prefix: str, after: Revision) -> None:
    """A member may lag behind ``after``; but where the directory itself does (it was restored from an older state),
    what was given is no longer true and no watch would tell."""
    answer = await _range(members, rpc.RangeRequest(limit=1, **_keys(prefix)), RELOAD_TIMEOUT_S)
    if answer.header.revision < after:
        raise _HistoryGoneError


async def _range(members: Members, request: rpc.RangeRequest, timeout_s: float) -> rpc.RangeResponse:
    async def call(member: Member, try_s: float) -> rpc.RangeResponse:
        answer: rpc.RangeResponse = await member.kv.Range(request, timeout=try_s)
        return answer

    try:
        return await members.ask(call, timeout_s)
    except grpc.aio.AioRpcError as error:
        raise members.unavailable(f"{error.code().name} {error.details()}") from error


def _keys(prefix: str) -> dict[str, Any]:
    """All keys that begin with ``prefix``: from it to the first that does not."""
    first = prefix.encode()
    if not first:
        return {"key": b"\0", "range_end": b"\0"}
    return {"key": first, "range_end": first[:-1] + bytes([first[-1] + 1])}
