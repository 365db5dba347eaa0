"""A tenant as the directory keeps it: its settings and its placement, in one key, changed by compare-and-swap."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args
from zoneinfo import ZoneInfo

from evenshard.directory.placement import Key, Placement, SlotRange
from evenshard.directory.report_sink import check_reports
from evenshard.directory.required_labels import required_of
from evenshard.errors import EvenshardError, FieldFault
from evenshard.ids import Epoch, ShardId, TenantId, is_tenant_name

RECORD_VERSION = 3
"""Of records that name repairs, whose shards must have let them come true."""
VERSION_SPLIT = 2
"""Of records whose placement may split users; all others are still written as version 1, which lacks that."""
HotKeyMode = Literal["rewrite", "salt", "observe"]
HOT_KEY_MODES: tuple[HotKeyMode, ...] = get_args(HotKeyMode)
HOT_KEY_THRESHOLD = 100_000
HOT_KEY_THRESHOLD_MAX = 2**53
RETENTION_DAYS_MAX = 36_525
"""A hundred years."""
RATE_MAX = 2**53
"""Events or bytes a second."""


def tenant_id(name: str) -> TenantId:
    """The name as an id; raises ``TENANT_NAME_INVALID``."""
    if not is_tenant_name(name):
        raise EvenshardError("TENANT_NAME_INVALID", f"{name!r} is not a tenant name")
    return TenantId(name)


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """What a tenant's owner chooses."""

    timezone: str = "UTC"
    """IANA name; dates and buckets of answers are of this zone."""
    dedupe: bool = True
    """Whether answers skip duplicates; their bits are decided either way."""
    strict: bool = False
    """Reject events without insert_id or with a placeholder distinct_id."""
    hot_key_threshold: int = HOT_KEY_THRESHOLD
    """Stored, non-duplicate events of one distinct_id and UTC date that stay as they are; the next ones are hot."""
    hot_key_mode: HotKeyMode = "rewrite"
    """What becomes of hot events: ``rewrite``, they are spread and shown as others; ``salt``, only spread; ``observe``,
    nothing."""
    retention_days: int = 0
    """Events from before the UTC day so many days ago are hidden, then removed; 0: they stay for ever."""
    events_per_second: int = 0
    """What each router takes of the tenant's events; 0: no limit."""
    bytes_per_second: int = 0
    """What each router takes of the tenant's imports, as sent; 0: no limit."""

    owners: tuple[str, ...] = ()
    """Mail addresses of those who are told of hot keys."""
    report_sink: str = ""
    """Where the weekly report goes, see ``report_sink``; empty: nowhere."""
    required_labels: tuple[str, ...] = ()
    """``NAME=VALUE``: of each name that is given, its shards have one of the values, from the next placement on."""

    @property
    def requires(self) -> dict[str, frozenset[str]]:
        """Of each label's name the values that do."""
        return required_of(self.required_labels)

    def __post_init__(self) -> None:
        required_of(self.required_labels)
        check_reports(self.owners, self.report_sink)
        if not 1 <= self.hot_key_threshold <= HOT_KEY_THRESHOLD_MAX:
            raise _wrong("hot_key_threshold", f"{self.hot_key_threshold} is not between 1 and {HOT_KEY_THRESHOLD_MAX}")
        if self.hot_key_mode not in HOT_KEY_MODES:
            raise _wrong("hot_key_mode", f"{self.hot_key_mode!r} is none of {', '.join(HOT_KEY_MODES)}")
        for name, value, value_max in (
            ("retention_days", self.retention_days, RETENTION_DAYS_MAX),
            ("events_per_second", self.events_per_second, RATE_MAX),
            ("bytes_per_second", self.bytes_per_second, RATE_MAX),
        ):
            if not 0 <= value <= value_max:
                raise _wrong(name, f"{value} is not between 0 (none) and {value_max}")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError) as error:
            fault = FieldFault("timezone", "not an IANA time zone")
            raise EvenshardError(
                "QUERY_INVALID",
                f"{self.timezone!r} is not a time zone",
                hint="use an IANA name such as Europe/Berlin",
                fields=(fault,),
            ) from error


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant's record."""

    name: TenantId
    settings: TenantSettings
    placement: Placement
    nonce: str
    """Written anew by each change, so that a writer whose reply was lost recognises its own record."""
    repairs: tuple[str, ...] = ()
    """Operations that have come true with this epoch or one before, and not known to have on every shard yet."""

    def to_json(self) -> bytes:
        splits = {"overflow": _ranges(self.placement.overflow), "key": self.placement.key}
        whole = splits == {"overflow": [], "key": "user"}
        return json.dumps(
            {
                "version": RECORD_VERSION if self.repairs else 1 if whole else VERSION_SPLIT,
                "name": self.name,
                "nonce": self.nonce,
                "timezone": self.settings.timezone,
                "dedupe": self.settings.dedupe,
                "strict": self.settings.strict,
                "hot_key_threshold": self.settings.hot_key_threshold,
                "hot_key_mode": self.settings.hot_key_mode,
                "retention_days": self.settings.retention_days,
                "events_per_second": self.settings.events_per_second,
                "bytes_per_second": self.settings.bytes_per_second,
                **_given(
                    owners=self.settings.owners,
                    report_sink=self.settings.report_sink,
                    required_labels=self.settings.required_labels,
                ),
                "epoch": self.placement.epoch,
                "slots": _ranges(self.placement.slots),
                **({} if whole else splits),
                **({"repairs": self.repairs} if self.repairs else {}),
            }
        ).encode()

    @staticmethod
    def from_json(data: bytes) -> "Tenant":
        """Raises ``FORMAT_TOO_NEW`` for a record of a newer evenshard; those of an older one lack settings."""
        record = json.loads(data)
        if record["version"] > RECORD_VERSION:
            raise EvenshardError(
                "FORMAT_TOO_NEW",
                f"the record of tenant {record.get('name')!r} has version {record['version']}",
            )
        return Tenant(
            TenantId(record["name"]),
            TenantSettings(
                record["timezone"],
                record["dedupe"],
                record["strict"],
                record.get("hot_key_threshold", HOT_KEY_THRESHOLD),
                cast(HotKeyMode, record.get("hot_key_mode", "rewrite")),
                record.get("retention_days", 0),
                record.get("events_per_second", 0),
                record.get("bytes_per_second", 0),
                tuple(record.get("owners", ())),
                record.get("report_sink", ""),
                tuple(record.get("required_labels", ())),
            ),
            Placement(
                Epoch(record["epoch"]),
                _slot_ranges(record["slots"]),
                _slot_ranges(record.get("overflow", [])),
                cast(Key, record.get("key", "user")),
            ),
            record["nonce"],
            tuple(record.get("repairs", ())),
        )


def _given(**values: Any) -> dict[str, Any]:
    """Those that are not empty: records of tenants without them stay as they were."""
    return {name: value for name, value in values.items() if value}


def _ranges(slots: Iterable[SlotRange]) -> list[list[Any]]:
    return [[piece.first, piece.last, piece.shard] for piece in slots]


def _slot_ranges(ranges: Iterable[Sequence[Any]]) -> tuple[SlotRange, ...]:
    return tuple(SlotRange(first, last, ShardId(shard)) for first, last, shard in ranges)


def _wrong(name: str, problem: str) -> EvenshardError:
    return EvenshardError("QUERY_INVALID", f"{name}: {problem}", fields=(FieldFault(name, problem),))
