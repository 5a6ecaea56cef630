"""Composition root of the delivery consumer: the HTTP client, PostgreSQL and Kafka meet here."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import SystemRandom
from uuid import UUID

from consumers.delivery.adapters import StoredLanes, StoredSecrets, schedule
from consumers.delivery.budget import Budget
from consumers.delivery.courier import WebhookCourier
from consumers.delivery.lanes import LaneLimits, Lanes
from consumers.delivery.metrics import LaneMetrics
from consumers.delivery.pictures import CopyCache, StoredPictures
from consumers.delivery.reporting import TargetReports
from consumers.delivery.role import DeliveryRole
from consumers.delivery.target_pace import PaceLimits
from consumers.image_bytes import ImageBytes, open_image_bytes
from consumers.runtime import Runtime, open_runtime, run
from consumers.upkeep.main import open_upkeep
from core.messaging.cloudevents import decode
from core.settings import (
    MIB,
    ArchiveSettings,
    DecodeSettings,
    DeliverySettings,
    EgressSettings,
    IngressSettings,
    SecretSettings,
    base_url,
    load,
)
from core.starting import Beginning
from core.vision.decoding.decoder import DecodePool, pool_limits
from core.webhooks.links import PURPOSE, sign_link
from core.webhooks.schedule import RetrySchedule
from core.webhooks.sender import BODY_S, WebhookSender
from core.webhooks.signing_secrets import SecretBox
from schemas.callback import CallbackRequested
from schemas.record import Record
from schemas.topics import CALLBACKS_REQUESTED

#: Pictures that went out a short while ago: several queries in a row often have one answer.
COPIES_MAX_BYTES = 64 * MIB
CLAIM_INTERVAL_S = 1.0  # between looks at the schedule when nothing wakes it
RECORD_SHARE = 0.5  # of the lease: how long an outcome is held while the database is away


async def main(beginning: Beginning) -> None:
    """Deliver answers until a signal asks for the end.

    Raises:
        ConfigurationError: a setting cannot be worked with, SECRETS_KEY above all.
    """
    settings = load(DeliverySettings)
    box = SecretBox.from_settings(load(SecretSettings))
    limits = pool_limits(load(DecodeSettings), load(ArchiveSettings).fetch_max_bytes)
    stop = await beginning.over()
    async with (
        open_runtime("delivery", listening=beginning.listening) as runtime,
        open_image_bytes(runtime.pool) as image_bytes,
        DecodePool(limits) as copier,
    ):
        secrets = StoredSecrets(runtime.pool, box)
        pictures = StoredPictures(
            runtime.pool,
            image_bytes.store.read_all,
            copier.outgoing_copy,
            settings.inline_max_bytes,
            settings.keep_exif,
            CopyCache(COPIES_MAX_BYTES),
        )
        reports = TargetReports(runtime.pool, _instance(runtime), LaneMetrics(runtime.metrics))
        courier = _courier(settings, image_bytes, pictures, secrets, box)
        lanes = _lanes(settings, runtime, courier, reports)
        role = DeliveryRole(schedule, lanes.wake.set)
        upkeep = open_upkeep(runtime.pool, runtime.metrics)
        await run(runtime, role, _decoded, stop, [lanes.run, upkeep.run, reports.run])


def _courier(
    settings: DeliverySettings,
    image_bytes: ImageBytes,
    pictures: StoredPictures,
    secrets: StoredSecrets,
    box: SecretBox,
) -> WebhookCourier:
    return WebhookCourier(
        pictures=pictures,
        secrets=secrets.of,
        sender=WebhookSender(image_bytes.client, timeout_s=settings.exchange_timeout_s),
        schedule=RetrySchedule.from_settings(settings),
        link=_linker(box, settings.link_ttl_s),
        budget=Budget(settings.max_bytes_in_flight),
        chance=SystemRandom(),
    )


def _instance(runtime: Runtime) -> str:
    """Return what this process is called in its reports, the same after a restart."""
    return runtime.consumer.instance or f"{runtime.name}-{socket.gethostname()}-0"


def _lanes(
    settings: DeliverySettings, runtime: Runtime, courier: WebhookCourier, watch: TargetReports
) -> Lanes:
    pace = PaceLimits(
        workers=settings.workers,
        per_target=load(EgressSettings).per_host_connections,
        ahead=settings.workers,
        rate_per_s=settings.per_host_rate,
    )
    return Lanes(
        database=runtime.pool,
        schedule=StoredLanes(settings.lease_s, courier.schedule.delays_s),
        courier=courier,
        limits=LaneLimits(
            pace,
            interval_s=CLAIM_INTERVAL_S,
            drain_s=settings.exchange_timeout_s + BODY_S,
            record_s=settings.lease_s * RECORD_SHARE,
            disable_after=settings.disable_after_opens,
        ),
        watch=watch,
    )


def _linker(box: SecretBox, ttl_s: int) -> Callable[[UUID], str]:
    """Return what signs addresses of images, at the ingress's public URL."""
    base = base_url(load(ArchiveSettings), load(IngressSettings))
    key = box.derived_keys(PURPOSE)[0]

    def link(image_id: UUID) -> str:
        expires_at = datetime.now(UTC) + timedelta(seconds=ttl_s)
        return base + sign_link(f"/images/{image_id}/content", expires_at=expires_at, key=key)

    return link


def _decoded(record: Record) -> CallbackRequested:
    return decode(CALLBACKS_REQUESTED, record, CallbackRequested)
