"""Names of things: one type for each kind of identifier, so that they cannot be mixed up."""

import re
from typing import NewType

TenantId = NewType("TenantId", str)
"""A customer's name: ``[a-z0-9][a-z0-9_-]{0,62}``."""

ShardId = NewType("ShardId", str)
"""A shard's name, as ``shard-0``; stable across restarts and addresses."""

Epoch = NewType("Epoch", int)
"""The version of a tenant's placement; rises by one with each change, starts at 1."""

OperationId = NewType("OperationId", str)
"""The name of a long act: sortable by the time it was asked for, not to be guessed."""

Revision = NewType("Revision", int)
"""A version of the whole directory (etcd's revision)."""

_TENANT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)


def is_tenant_name(name: str) -> bool:
    """Whether a tenant may be called so."""
    return _TENANT_NAME.fullmatch(name) is not None
