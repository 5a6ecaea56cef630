"""Accept images and queries: one transaction writes bytes, row and event; then the event leaves."""

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import UUID

from core.errors import ImageUnreadable, TargetForbidden, TargetUnreachable
from core.offsets import OutboxRow
from core.storage.archive import blobs, images
from core.storage.archive.images import ImageStatus
from core.storage.queries import queries
from core.storage.stream import outbox
from core.transaction import Transaction
from ingress.http.multipart import ReceivedFile
from ingress.http.problems import Extra, FieldError, Problem
from ingress.models.delivery.queries import QueryRequest
from ingress.operations import Call
from ingress.reading.files import RootedFile
from producers.images import ImageProducer, Origin, Wishes
from producers.queries import QueryProducer, fresh_query_id, query_id_of
from schemas.image import image_id_of
from schemas.query import QuerySubmitted
from schemas.record import Record
from schemas.token import Token, decode_token
from schemas.topics import Lane

SOURCE = "/ingress"
MAX_NAME_CHARS = 255
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# The probe's reasons for bytes that are no picture at all.
_NOT_A_PICTURE = frozenset({"empty", "not_an_image"})


@dataclass(slots=True)
class OutboxSink:
    """Writes records into the outbox, in the request's transaction and with the request's trace.

    Attributes:
        rows: what was put, in order.
    """

    tx: Transaction
    traceparent: str | None
    rows: list[OutboxRow] = field(default_factory=list)

    async def put(self, record: Record) -> None:
        """Write one record; it leaves if the transaction commits."""
        if self.traceparent is not None:
            trace = ("traceparent", self.traceparent.encode())
            record = replace(record, headers=(*record.headers, trace))
        self.rows += await outbox.add(self.tx, [record])


@dataclass(frozen=True, slots=True)
class KeptImage:
    """An upload that was accepted; `path` is the name under which it is kept."""

    image_id: UUID
    path: str
    is_duplicate: bool
    token: Token


async def keep_upload(call: Call, file: ReceivedFile, lane: Lane) -> KeptImage:
    """Keep one uploaded file and announce it on a lane.

    Raises:
        Problem: `image_too_large`, `not_an_image`, `image_unreadable`.
        TransientError: database or blob store is away; the client was promised nothing.
    """
    deps, content = call.deps, _content_of(call, file)
    media_type = _probe(call, content)
    uri = f"blob:{file.sha256.hex()}"
    path = shown_name(file.filename) or f"sha256:{file.sha256.hex()}"
    image_id = image_id_of(uri)
    if not deps.keeps_blobs_in_database:
        # Before the transaction: a bucket may need longer than a transaction may idle (5 s). If
        # the transaction fails, the pruner finds bytes to which no image refers.
        await deps.blobs.keep(content)
    async with deps.pool.transaction() as tx:
        if deps.keeps_blobs_in_database:
            await blobs.put(tx, file.sha256, content)
        accepted = await images.accept(
            tx,
            image_id=image_id,
            uri=uri,
            path=path,
            owner=call.caller.owner,
            media_type=media_type,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
        )
        sink = OutboxSink(tx, call.traceparent)
        # PostgreSQL's clock, as for deletions: a clock ahead of it would undo a later deletion.
        await ImageProducer(sink, SOURCE, lane=lane).announce(
            uri,
            path=accepted.path,
            sha256=file.sha256.hex(),
            origin=Origin(owner=call.caller.owner),
            made_at=accepted.at,
        )
    (token,) = await deps.departures.send(sink.rows)
    _count_announced(call, sink)
    return KeptImage(image_id, accepted.path, accepted.is_duplicate, token)


async def announce_file(call: Call, file: RootedFile, wishes: Wishes) -> ImageStatus:
    """Accept a file under an allowed root; return its row as it was before tagging saw it.

    Raises:
        TransientError: the database is away; the client was promised nothing.
    """
    deps = call.deps
    image_id = image_id_of(file.uri)
    async with deps.pool.transaction() as tx:
        accepted = await images.accept(
            tx,
            image_id=image_id,
            uri=file.uri,
            path=file.image_path,
            owner=call.caller.owner,
            size_bytes=file.size_bytes,
        )
        # Read before the event leaves: tagging may finish before our next statement.
        status = await images.status(tx, image_id)
        sink = OutboxSink(tx, call.traceparent)
        await ImageProducer(sink, SOURCE).announce(
            file.uri,
            path=file.image_path,
            wishes=wishes,
            origin=Origin(owner=call.caller.owner),
            made_at=accepted.at,
        )
    if status is None:
        raise Problem("path_not_found", f"{file.image_path!r} was deleted just now")
    await deps.departures.send(sink.rows)
    _count_announced(call, sink)
    return status


async def keep_query(
    call: Call, asked: QueryRequest, idempotency_key: str | None
) -> tuple[UUID, Literal["new", "same"]]:
    """Keep a query and submit it; the same key with the same body again changes nothing.

    Raises:
        Problem: `callback_forbidden`, `idempotency_key_reused`, `invalid_request` (`after`).
        TransientError: the database is away; the client was promised nothing.
    """
    deps, owner = call.deps, call.caller.owner
    await check_callback(call, asked.callback_url, "/callback_url")
    _check_after(call, asked.after)
    query_id = fresh_query_id() if idempotency_key is None else query_id_of(owner, idempotency_key)
    options = asked.options()
    async with deps.pool.transaction() as tx:
        found = await queries.accept(
            tx,
            query_id=query_id,
            owner=owner,
            text=asked.text,
            callback_url=asked.callback_url,
            options=options.model_dump(mode="json", exclude_defaults=True),
            fingerprint=fingerprint_of(asked),
        )
        verdict = _check_key(idempotency_key, found)
        sink = OutboxSink(tx, call.traceparent)
        if verdict == "new":
            query = QuerySubmitted(
                query_id=query_id,
                text=asked.text,
                callback_url=asked.callback_url,
                owner=owner,
                options=options,
            )
            await QueryProducer(sink, SOURCE, now=deps.now).submit(query)
    if sink.rows:
        await deps.departures.send(sink.rows)
        _count_announced(call, sink)
    return query_id, verdict


def _check_key(
    idempotency_key: str | None, found: Literal["new", "same", "other", "deleted"]
) -> Literal["new", "same"]:
    """Return what was found of a query under its key, if the key may be used for it.

    Raises:
        Problem: `idempotency_key_reused`.
    """
    code, key = "idempotency_key_reused", f"Idempotency-Key {idempotency_key!r}"
    if found == "other":
        raise Problem(code, f"{key} was sent before with another body")
    if found == "deleted":
        raise Problem(code, f"the query of {key} was deleted; take another key")
    return found


def fingerprint_of(asked: QueryRequest) -> bytes:
    """Return a hash of the body's values; the order of fields and spaces do not change it."""
    text = json.dumps(asked.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def shown_name(filename: str) -> str | None:
    """Return a client's file name without folders and unprintable characters; None if empty."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    name = _UNSHOWABLE.sub("", name.encode("utf-8", "replace").decode()).strip()
    return name[:MAX_NAME_CHARS] or None


def _content_of(call: Call, file: ReceivedFile) -> bytes:
    """Return a file's bytes.

    Raises:
        Problem: `image_too_large`: then they were not kept while it came in.
    """
    if file.content is None:
        limit = call.deps.settings.max_image_bytes
        raise Problem(
            "image_too_large", f"{file.size_bytes} bytes; the limit is {limit} bytes per image"
        )
    return file.content


def _probe(call: Call, content: bytes) -> str:
    try:
        return call.deps.guards.probe(content).media_type
    except ImageUnreadable as error:
        code = "not_an_image" if error.reason in _NOT_A_PICTURE else "image_unreadable"
        why = str(error) if error.reason == code else f"{error.reason}: {error}"
        raise Problem(code, why) from error


async def check_callback(call: Call, url: str, pointer: str) -> None:
    """Check that a callback address may be called.

    Raises:
        Problem: `callback_forbidden`, naming the field that `pointer` points at.
    """
    try:
        await call.deps.guards.callbacks.check(url)
    except TargetForbidden as error:
        detail = f"{pointer[1:]} {url[:300]!r}: {error}"
        field = FieldError(pointer, str(error))
        raise Problem("callback_forbidden", detail, Extra(errors=(field,))) from error
    except TargetUnreachable:
        return  # the delivery resolves and checks it again


def _check_after(call: Call, after: str | None) -> None:
    """Check that a token names this cluster, or was made before the cluster was known ('')."""
    ours = call.deps.departures.cluster
    if after is None or not ours or decode_token(after).cluster in {"", ours}:
        return
    detail = "the token names an upload in another Kafka cluster than this one"
    field = FieldError("/after", detail)
    raise Problem("invalid_request", f"after: {detail}", Extra(errors=(field,)))


def _count_announced(call: Call, sink: OutboxSink) -> None:
    for _, record in sink.rows:
        call.deps.metrics.announced.labels(record.topic).inc()
