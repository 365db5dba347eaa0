"""Runs checks in child processes: one that aborts or hangs is an answer like any other, and the next goes on."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

Item = TypeVar("Item")

ABORTED, HUNG = "the process aborted", "the process hung"
START_TIMEOUT_S = 120.0
_SPAWN = multiprocessing.get_context("spawn")


class _Worker:
    """One child, and what it works on."""

    def __init__(self, check: Callable[[Any], str]) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self.process: BaseProcess = _SPAWN.Process(target=_serve, args=(check, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.item: Any = None
        self.deadline = 0.0

    def give(self, item: Any, timeout_s: float) -> None:
        self.item = item
        self.deadline = time.monotonic() + timeout_s
        self.pipe.send(item)

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


def _serve(check: Callable[[Any], str], pipe: Connection) -> None:
    pipe.send("ready")
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        pipe.send(check(item))


def run(
    check: Callable[[Item], str], items: Iterable[Item], *, processes: int = 2, timeout_s: float = 30.0
) -> Iterator[tuple[Item, str]]:
    """What ``check`` (picklable) says of each item, in the order of answers; or ``ABORTED``, ``HUNG``.

    ``items`` may be a generator; it is asked for the next one when a process is free.
    """
    pending = iter(items)
    workers: list[_Worker] = []
    try:
        for item in pending:
            if len(workers) < processes:
                workers.append(_started(check))
                workers[-1].give(item, timeout_s)
                continue
            done, answer = _next(workers)
            yield done.item, answer
            _give_again(workers, done, answer, check, item, timeout_s)
        while workers:
            done, answer = _next(workers)
            workers.remove(done)
            done.end()
            yield done.item, answer
    finally:
        for worker in workers:
            worker.end()


def _started(check: Callable[[Any], str]) -> _Worker:
    worker = _Worker(check)
    if not worker.pipe.poll(START_TIMEOUT_S) or worker.pipe.recv() != "ready":
        worker.end()
        raise RuntimeError("a process for isolated checks does not start")
    return worker


def _give_again(
    workers: list[_Worker], done: _Worker, answer: str, check: Callable[[Any], str], item: object, timeout_s: float
) -> None:
    if answer in (ABORTED, HUNG):
        workers.remove(done)
        done.end()
        done = _started(check)
        workers.append(done)
    done.give(item, timeout_s)


def _next(workers: list[_Worker]) -> tuple[_Worker, str]:
    """The next one that has an answer, or never will."""
    first = min(workers, key=lambda worker: worker.deadline)
    ready = wait([worker.pipe for worker in workers], max(0.0, first.deadline - time.monotonic()))
    if not ready:
        return first, HUNG
    worker = next(worker for worker in workers if worker.pipe is ready[0])
    try:
        return worker, worker.pipe.recv()
    except (EOFError, OSError):
        return worker, ABORTED
