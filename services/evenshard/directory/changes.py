"""What becomes of a tenant when somebody creates or changes it: the new record, or why not."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, cast

from evenshard.directory.placement import FIRST_EPOCH, even_placement
from evenshard.directory.required_labels import labels_text
from evenshard.directory.tenant import HotKeyMode, Tenant, TenantSettings
from evenshard.errors import EvenshardError, FieldFault
from evenshard.ids import Epoch, Revision, ShardId, TenantId

REQUEST_ID_CHARACTERS_MAX = 128
REQUEST_TTL_S = 3600
"""How long a request_id is remembered."""
VERBS = ("create", "update", "delete", "undelete")
"""Of tenants as a whole."""


@dataclass(frozen=True, slots=True)
class SettingsPatch:
    """Settings to set; ``None``: the default (of a new tenant), or unchanged."""

    timezone: str | None = None
    dedupe: bool | None = None
    strict: bool | None = None
    hot_key_threshold: int | None = None
    hot_key_mode: str | None = None
    retention_days: int | None = None
    events_per_second: int | None = None
    bytes_per_second: int | None = None
    owners: tuple[str, ...] | None = None
    report_sink: str | None = None
    required_labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.owners is not None:  # a list where it was read from JSON
            object.__setattr__(self, "owners", tuple(self.owners))
        if self.required_labels is not None:
            object.__setattr__(self, "required_labels", tuple(self.required_labels))

    def over(self, settings: TenantSettings) -> TenantSettings:
        """Raises ``QUERY_INVALID``, naming the setting, for a value that cannot be."""
        return TenantSettings(
            settings.timezone if self.timezone is None else self.timezone,
            settings.dedupe if self.dedupe is None else self.dedupe,
            settings.strict if self.strict is None else self.strict,
            settings.hot_key_threshold if self.hot_key_threshold is None else self.hot_key_threshold,
            settings.hot_key_mode if self.hot_key_mode is None else cast(HotKeyMode, self.hot_key_mode),
            settings.retention_days if self.retention_days is None else self.retention_days,
            settings.events_per_second if self.events_per_second is None else self.events_per_second,
            settings.bytes_per_second if self.bytes_per_second is None else self.bytes_per_second,
            settings.owners if self.owners is None else self.owners,
            settings.report_sink if self.report_sink is None else self.report_sink,
            settings.required_labels if self.required_labels is None else self.required_labels,
        )


def new_tenant(
    current: Tenant | None,
    name: TenantId,
    patch: SettingsPatch,
    shards: Sequence[ShardId],
    nonce: str,
    epoch: Epoch = FIRST_EPOCH,
) -> Tenant:
    """The first record of ``name``, its slots split evenly over ``shards``, which have its labels, in their order."""
    if current is not None:
        raise EvenshardError("TENANT_EXISTS", f"there is a tenant {name!r} already")
    settings = patch.over(TenantSettings())
    if not shards:
        raise nowhere_to_be(name, settings.required_labels)
    return Tenant(name, settings, even_placement(shards, epoch), nonce)


def updated_tenant(current: Tenant | None, name: TenantId, patch: SettingsPatch, nonce: str) -> Tenant:
    """The record with other settings; its placement and epoch stay."""
    if current is None:
        raise tenant_not_found(name)
    return replace(current, settings=patch.over(current.settings), nonce=nonce)


def nowhere_to_be(name: str, labels: Iterable[str]) -> EvenshardError:
    """No shard may hold the tenant."""
    with_labels = f" that has {text}" if (text := labels_text(labels)) else ""
    return EvenshardError("PLACEMENT_UNSATISFIABLE", f"no shard{with_labels} is there to hold tenant {name!r}")


def tenant_not_found(name: str) -> EvenshardError:
    return EvenshardError("TENANT_NOT_FOUND", f"there is no tenant {name!r}")


def check_revision(name: TenantId, expected: int, actual: Revision) -> None:
    """Raises ``OPERATION_CONFLICT`` unless the tenant was last changed at ``expected``; 0: anything goes."""
    if expected and expected != actual:
        is_now = f"last changed at revision {actual}" if actual else "not there"
        raise EvenshardError("OPERATION_CONFLICT", f"tenant {name!r} is {is_now}, not at revision {expected}")


def check_request_id(request_id: str) -> None:
    """Raises ``QUERY_INVALID`` for one that is too long."""
    if len(request_id) > REQUEST_ID_CHARACTERS_MAX:
        why = f"longer than {REQUEST_ID_CHARACTERS_MAX} characters"
        raise EvenshardError(
            "QUERY_INVALID", f"the request_id is {why}", fields=(FieldFault("options.request_id", why),)
        )


def subject_of(record: Mapping[str, Any]) -> str:
    """Of what a request_id was used for: the tenant, or the shard."""
    subject: str = record["tenant"]
    return Tenant.from_json(subject.encode()).name if record["verb"] in VERBS else subject


def used_otherwise(request_id: str, verb: str, subject: str) -> EvenshardError:
    """A request_id was used for something else: ``verb`` on ``subject``."""
    return EvenshardError(
        "OPERATION_CONFLICT",
        f"request_id {request_id!r} was used for another change: {verb} {subject!r}",
        hint="give each change a request_id of its own",
    )


@dataclass(frozen=True, slots=True)
class DoneRequest:
    """What a request_id was used for, written in the very swap that made the change, so at its revision."""

    verb: str
    """One of ``VERBS``."""
    patch: SettingsPatch
    tenant: Tenant
    """As the change left it."""

    def to_json(self) -> bytes:
        patch = astuple(self.patch)
        return json.dumps({"verb": self.verb, "patch": patch, "tenant": self.tenant.to_json().decode()}).encode()

    @staticmethod
    def from_json(data: bytes, request_id: str = "") -> "DoneRequest":
        """Raises ``OPERATION_CONFLICT`` where the request was no change of a tenant."""
        record = json.loads(data)
        if record["verb"] not in VERBS:
            raise used_otherwise(request_id, record["verb"], subject_of(record))
        return DoneRequest(record["verb"], SettingsPatch(*record["patch"]), Tenant.from_json(record["tenant"].encode()))

    def check_same(self, request_id: str, verb: str, name: TenantId, patch: SettingsPatch) -> None:
        """Raises ``OPERATION_CONFLICT`` if the request_id was used for something else."""
        if (self.verb, self.tenant.name, self.patch) != (verb, name, patch):
            raise used_otherwise(request_id, self.verb, self.tenant.name)
