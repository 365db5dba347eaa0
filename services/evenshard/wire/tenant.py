"""Tenants, their settings and placements: protobuf ↔ ours."""

from typing import cast

from evenshard.api.v1 import admin_pb2, common_pb2
from evenshard.directory.changes import SettingsPatch
from evenshard.directory.placement import Placement, SlotRange
from evenshard.directory.tenant import HotKeyMode, Tenant, TenantSettings
from evenshard.ids import Epoch, Revision, ShardId, TenantId


def placement_to_proto(placement: Placement) -> common_pb2.Placement:
    return common_pb2.Placement(
        epoch=placement.epoch,
        slots=map(_slot_range, placement.slots),
        overflow=map(_slot_range, placement.overflow),
    )


def placement_from_proto(message: common_pb2.Placement) -> Placement:
    """Raises ``ValueError`` where slots are missing or given twice. The key does not travel: it is the user."""
    slots, overflow = (
        tuple(SlotRange(each.first, each.last, ShardId(each.shard)) for each in ranges)
        for ranges in (message.slots, message.overflow)
    )
    return Placement(Epoch(message.epoch), slots, overflow)


def _slot_range(piece: SlotRange) -> common_pb2.SlotRange:
    return common_pb2.SlotRange(first=piece.first, last=piece.last, shard=piece.shard)


def tenant_to_proto(tenant: Tenant, revision: Revision) -> admin_pb2.Tenant:
    """``revision``: of its last change; 0 where it is only planned."""
    return admin_pb2.Tenant(
        name=tenant.name,
        settings=admin_pb2.TenantSettings(
            timezone=tenant.settings.timezone,
            dedupe=tenant.settings.dedupe,
            strict=tenant.settings.strict,
            hot_key_threshold=tenant.settings.hot_key_threshold,
            hot_key_mode=tenant.settings.hot_key_mode,
            retention_days=tenant.settings.retention_days,
            events_per_second=tenant.settings.events_per_second,
            bytes_per_second=tenant.settings.bytes_per_second,
            owners=admin_pb2.Owners(addresses=tenant.settings.owners),
            report_sink=tenant.settings.report_sink,
            required_labels=admin_pb2.RequiredLabels(labels=tenant.settings.required_labels),
        ),
        placement=placement_to_proto(tenant.placement),
        revision=revision,
    )


def tenant_from_proto(message: admin_pb2.Tenant) -> tuple[Tenant, Revision]:
    """The nonce does not travel: it is empty."""
    settings = TenantSettings(
        message.settings.timezone,
        message.settings.dedupe,
        message.settings.strict,
        message.settings.hot_key_threshold,
        cast(HotKeyMode, message.settings.hot_key_mode),
        message.settings.retention_days,
        message.settings.events_per_second,
        message.settings.bytes_per_second,
        tuple(message.settings.owners.addresses),
        message.settings.report_sink,
        tuple(message.settings.required_labels.labels),
    )
    tenant = Tenant(TenantId(message.name), settings, placement_from_proto(message.placement), nonce="")
    return tenant, Revision(message.revision)


def patch_from_proto(message: admin_pb2.TenantSettings) -> SettingsPatch:
    return SettingsPatch(
        message.timezone if message.HasField("timezone") else None,
        message.dedupe if message.HasField("dedupe") else None,
        message.strict if message.HasField("strict") else None,
        message.hot_key_threshold if message.HasField("hot_key_threshold") else None,
        message.hot_key_mode if message.HasField("hot_key_mode") else None,
        message.retention_days if message.HasField("retention_days") else None,
        message.events_per_second if message.HasField("events_per_second") else None,
        message.bytes_per_second if message.HasField("bytes_per_second") else None,
        tuple(message.owners.addresses) if message.HasField("owners") else None,
        message.report_sink if message.HasField("report_sink") else None,
        tuple(message.required_labels.labels) if message.HasField("required_labels") else None,
    )


def patch_to_proto(patch: SettingsPatch) -> admin_pb2.TenantSettings:
    return admin_pb2.TenantSettings(
        timezone=patch.timezone,
        dedupe=patch.dedupe,
        strict=patch.strict,
        hot_key_threshold=patch.hot_key_threshold,
        hot_key_mode=patch.hot_key_mode,
        retention_days=patch.retention_days,
        events_per_second=patch.events_per_second,
        bytes_per_second=patch.bytes_per_second,
        owners=None if patch.owners is None else admin_pb2.Owners(addresses=patch.owners),
        report_sink=patch.report_sink,
        required_labels=(
            None if patch.required_labels is None else admin_pb2.RequiredLabels(labels=patch.required_labels)
        ),
    )
