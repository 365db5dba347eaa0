"""How the records of a catalog are named, and the forms of those that belong to nobody else. Pure."""

import json
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from evenshard.ids import Epoch, TenantId
from evenshard.storage.deletions import NO_HORIZON
from evenshard.storage.hot_keys import UserDay
from evenshard.storage.moving.slots import mask_of, spans_of
from evenshard.storage.ownership import Foreign

FORMAT_KEY, SHARD_KEY, NEXT_ID_KEY = "meta/format", "meta/shard", "meta/next_segment_id"
STOPPED_KEY: Final = "meta/stopped_row"

_NO_EPOCH = Epoch(0)


@dataclass(frozen=True, slots=True)
class TenantState:
    """What is remembered of a tenant besides its files."""

    mark: int = 0
    epoch: Epoch = _NO_EPOCH
    deletions: int = 0
    """Deletions there ever were."""
    horizon_ms: int = NO_HORIZON


def segment_key(segment_id: int) -> str:
    return f"segment/{segment_id}"


def tenant_key(tenant: TenantId) -> str:
    return f"tenant/{tenant}"


def deletion_key(tenant: TenantId, seq: int) -> str:
    return f"deletion/{tenant}/{seq}"


def layer_key(tenant: TenantId, name: str) -> str:
    return f"layer/{tenant}/{name}"


def prepared_key(tenant: TenantId, operation: str) -> str:
    return f"prepared/{tenant}/{operation}"


def move_key(tenant: TenantId, name: str) -> str:
    return f"move/{tenant}/{name}"


def foreign_key(tenant: TenantId) -> str:
    return f"foreign/{tenant}"


def foreign_value(foreign: Foreign) -> bytes:
    record = {"home": spans_of(foreign.home), "overflow": spans_of(foreign.overflow)}
    return json.dumps(record, sort_keys=True).encode()


def parse_foreign(value: bytes) -> Foreign:
    record = json.loads(value)
    return Foreign(mask_of(record["home"]), mask_of(record["overflow"]))


def held_key(tenant: TenantId, key: UserDay) -> str:
    distinct_id, day = key
    return f"hotkey/{tenant}/{day}/{quote(distinct_id, safe='')}"


def user_day(name: str) -> tuple[TenantId, UserDay]:
    """Of a key without ``hotkey/``."""
    tenant, day, distinct_id = name.split("/")
    return TenantId(tenant), (unquote(distinct_id), int(day))


def original_key(segment_id: int) -> str:
    return f"original/{segment_id}"


def state_value(state: TenantState) -> bytes:
    record = {"mark": state.mark, "epoch": state.epoch}
    if state.deletions:
        record |= {"deletions": state.deletions, "horizon_ms": state.horizon_ms}
    return json.dumps(record, sort_keys=True).encode()


def parse_state(value: bytes) -> TenantState:
    """Records of format 1, and of tenants that never had one, say nothing of deletions."""
    record = json.loads(value)
    return TenantState(
        record["mark"], Epoch(record["epoch"]), record.get("deletions", 0), record.get("horizon_ms", NO_HORIZON)
    )
