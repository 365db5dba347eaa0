"""evenshard: a sharded event store with exact deduplication.

``evenshard.connect()`` gives a client; the names here load on first use, so that importing a part of the package
does not import all of it.
"""

from typing import TYPE_CHECKING, Any

from evenshard.errors import EvenshardError

if TYPE_CHECKING:
    from evenshard.client import Client as Client
    from evenshard.client import connect as connect

__all__ = ["Client", "EvenshardError", "connect"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("Client", "connect"):
        import evenshard.client

        return getattr(evenshard.client, name)
    raise AttributeError(f"module 'evenshard' has no attribute {name!r}")
