"""The call being handled: who asks, how long they wait, and its trace. Set by the server's interceptor (and by the
in-memory peers), read by handlers; handlers never look at metadata."""

import time
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Literal

Role = Literal["reader", "writer", "admin", "service"]
DEFAULT_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: for one tenant, or for all (``*``)."""

    name: str
    tenant: str
    role: Role


DEVELOPMENT = Principal("development", "*", "admin")
"""Everybody, until tokens come."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call in progress."""

    principal: Principal
    trace_id: str
    """32 hex digits."""
    deadline_s: float
    """On ``time.monotonic()``."""

    def remaining_s(self) -> float:
        """Seconds until the caller gives up; never negative."""
        return max(0.0, self.deadline_s - time.monotonic())


_current: ContextVar[Call] = ContextVar("evenshard_call")


def current_call() -> Call:
    """The call this task handles; raises ``LookupError`` outside of one."""
    return _current.get()


def enter_call(call: Call) -> Token[Call]:
    """Binds ``call`` to this task's context; for ``leave_call``, where the context goes on."""
    return _current.set(call)


def leave_call(entered: Token[Call]) -> None:
    """Binds what was bound before."""
    _current.reset(entered)
