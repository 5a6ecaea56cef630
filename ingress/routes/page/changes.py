"""`/images/changes`: one decision about all images that a filter finds, and taking it back."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from starlette.responses import Response

from core.errors import RecordRefused
from core.storage import asking, labels
from core.storage.deciding import changing, image_changes
from core.storage.deciding.image_changes import ImageChange, NewChange
from core.storage.finding import image_pages
from core.transaction import Transaction
from ingress.auth.access import require
from ingress.auth.api_keys import Scope
from ingress.http.cursors import CURSOR, cursor_of, limit_of, page_before
from ingress.http.problems import Extra, FieldError, Problem
from ingress.http.repeating import (
    KEY,
    PROBLEMS,
    REPLAYED,
    REPLAYED_HEADER,
    answer_before,
    asked_once,
)
from ingress.models.page.changes import ChangeCount, ChangePage, ImageChangeRequest, ShownChange
from ingress.models.page.filters import ImageFilterText
from ingress.operations import Call, Operation, Reply, json_response
from ingress.reading import filters
from ingress.reading.filters import AskedFilter

DEFAULT_LIMIT = 50
MAX_LIMIT = 200


async def change(call: Call) -> Response:
    """Change all images that a filter finds and the caller may change; or count them alone."""
    require(call.caller, Scope.READ)  # a filter finds what the key may see
    wanted = await call.body(ImageChangeRequest)
    once = asked_once(call, "change", wanted)
    asked = await filters.understand(call, wanted.filter.without_order())
    if wanted.dry_run:
        async with call.deps.pool.connection() as connection:
            chosen = await _spelled(connection, wanted.change.chosen)
            return json_response(await _count(connection, call, asked, chosen))
    async with call.deps.pool.transaction() as tx:
        if before := await answer_before(tx, once):
            return _accepted(ShownChange.model_validate(before), {REPLAYED: "true"})
        found = await image_pages.count(tx, asked.wanted)
        await _know(tx, wanted.change.add_tag)  # last: it keeps others from adding labels
        chosen = await _spelled(tx, wanted.change.chosen)
        made = await image_changes.create(
            tx,
            NewChange(
                change_id=uuid4(),
                owner=call.caller.owner,
                acts_on_all=call.caller.is_admin,
                asked=as_sent(wanted.filter),
                wanted=asked.wanted,
                change=chosen,
                matches=found.images,
                is_exact=found.is_exact,
                delay_s=wanted.delay_s,
            ),
        )
        if made is None:
            raise Problem("too_many_changes", f"the limit is {image_changes.MOST_OPEN} of an owner")
        shown = _shown(call, made)
        if once is not None:
            await asking.answer(tx, once, shown.model_dump(mode="json"))
    return _accepted(shown)


async def list_changes(call: Call) -> Response:
    """Return the caller's changes, or all of them for an administrator, the newest first."""
    limit = call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    found = await image_changes.recent(
        call.deps.pool, owner=call.own_only, before=page_before(call), limit=limit + 1
    )
    last = found[limit - 1] if len(found) > limit else None
    shown = tuple(_shown(call, one) for one in found[:limit])
    follows = cursor_of(last.created_at, last.change_id) if last else None
    return json_response(ChangePage(changes=shown, next=follows))


async def show_change(call: Call) -> Response:
    """Return how far a change is."""
    return json_response(_shown(call, await _own(call.deps.pool, call)))


async def undo(call: Call) -> Response:
    """Take a change back, also one under way: what nobody changed since is as it was before."""
    async with call.deps.pool.transaction() as tx:
        found = await _own(tx, call)
        if found.acts_on_all:  # the owner's other keys may not change what is not the owner's
            require(call.caller, Scope.ADMIN, "an administrator made this change: ")
        if not await image_changes.undo(tx, found.change_id):
            why = (
                "deleted photos are tombstones: send them again"
                if found.kind == "delete"
                else (f"it is {found.state}, and was made {found.created_at:%Y-%m-%d}")
            )
            raise Problem("nothing_to_undo", why)
        now = await _own(tx, call)
    return json_response(_shown(call, now), 202)


def _accepted(shown: ShownChange, also: Mapping[str, str] | None = None) -> Response:
    return json_response(shown, 202, {"Location": shown.links["self"], **(also or {})})


def as_sent(wanted: ImageFilterText) -> dict[str, Any]:
    """Return a filter as it was sent."""
    sent: dict[str, Any] = wanted.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return sent


async def _count(
    connection: Transaction, call: Call, asked: AskedFilter, wanted: dict[str, Any]
) -> ChangeCount:
    found = await image_pages.count(connection, asked.wanted)
    due = await image_pages.count(
        connection, asked.wanted, also=changing.to_change(wanted, call.own_only)
    )
    return ChangeCount(
        matches=found.images,
        would_change=due.images,
        is_exact=found.is_exact and due.is_exact,
    )


async def _spelled(connection: Transaction, chosen: dict[str, Any]) -> dict[str, Any]:
    """Return a change with its tag as the label spells it."""
    names = [value for value in chosen.values() if isinstance(value, str)]
    spelling = await labels.spelled(connection, names)
    return {
        kind: spelling[value] if isinstance(value, str) else value for kind, value in chosen.items()
    }


async def _know(tx: Transaction, tag: str | None) -> None:
    try:
        await labels.ensure(tx, [tag] if tag is not None else [])
    except RecordRefused as error:
        extra = Extra(errors=(FieldError("/change/add_tag", str(error)),))
        raise Problem("invalid_request", str(error), extra) from error


async def _own(connection: Transaction, call: Call) -> ImageChange:
    change_id: UUID = call.path_id("change_id")
    found = await image_changes.get(connection, change_id)
    if found is None or not call.caller.owns(found.owner):
        raise Problem("change_not_found", f"no change {change_id}")
    return found


def _shown(call: Call, found: ImageChange) -> ShownChange:
    path = f"/images/changes/{found.change_id}"
    return ShownChange.of(
        found,
        filter=dict(found.asked),
        change=dict(found.change),
        failed=found.left_alone,
        links={"self": call.link(path), "undo": call.link(f"{path}/undo")},
    )


OPERATIONS = (
    Operation(
        "POST",
        "/images/changes",
        change,
        "Change all images that a filter finds",
        "images",
        (
            Reply(
                202,
                "It will be made, step by step; each image changes as a whole.",
                ShownChange,
                headers=(("Location", "Where its progress is."), REPLAYED_HEADER),
            ),
            Reply(200, "With `dry_run`: what it would do.", ChangeCount),
        ),
        scope=Scope.UPLOAD,
        body=ImageChangeRequest,
        parameters=(KEY,),
        problems=(
            *PROBLEMS, "malformed_json", "receive_timeout", "body_too_large",
            "unsupported_media_type", "invalid_request", "too_many_changes",
        ),
    ),
    Operation(
        "GET",
        "/images/changes",
        list_changes,
        "Changes to many images, page by page",
        "images",
        (Reply(200, "At most `limit` changes, the newest first.", ChangePage),),
        scope=Scope.UPLOAD,
        parameters=(limit_of(MAX_LIMIT), CURSOR),
        problems=("invalid_request",),
    ),
    Operation(
        "GET",
        "/images/changes/{change_id}",
        show_change,
        "How far a change to many images is",
        "images",
        (Reply(200, "Its progress.", ShownChange),),
        scope=Scope.UPLOAD,
        problems=("change_not_found",),
    ),
    Operation(
        "POST",
        "/images/changes/{change_id}/undo",
        undo,
        "Take a change to many images back",
        "images",
        (Reply(202, "It will be taken back, but for what was changed again since.", ShownChange),),
        scope=Scope.UPLOAD,
        problems=("change_not_found", "nothing_to_undo"),
    ),
)  # fmt: skip
