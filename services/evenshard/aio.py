"""The client for asyncio: ``async with evenshard.aio.connect() as client``; the same names as the blocking one."""

from evenshard.client import AsyncClient, AsyncExport
from evenshard.client import connect_async as connect
from evenshard.errors import EvenshardError

__all__ = ["AsyncClient", "AsyncExport", "EvenshardError", "connect"]
