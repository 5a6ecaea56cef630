"""`/inbox`: the receiver in the box, for developers; in the standalone mode alone.

It shows each signed POST, checks it, and answers as it is told: a sender's whole schedule can be
watched without a receiver of one's own. Its addresses are the one exception to the rule that
nothing is sent to the archive's own ports (`TargetPolicy.is_inbox`).
"""

import secrets
from http import HTTPStatus

from starlette.responses import Response

from core.egress.kept_headers import kept_headers
from core.storage import keys
from core.storage.delivery import inboxes
from core.storage.delivery.inboxes import MAX_BODY_BYTES, MAX_PER_OWNER, Inbox, InboxPost, NewPost
from core.webhooks.signature import ID_HEADER
from ingress.auth.api_keys import Scope
from ingress.http.bodies import MIN_BYTES_PER_S, BodyPace, check_announced, read_whole
from ingress.http.problems import Problem
from ingress.http.waiting import WaitLimits, wait_until
from ingress.models.page.inboxes import (
    FilledInbox,
    InboxAnswer,
    InboxChange,
    InboxRequest,
    ShownAnswer,
    ShownInbox,
    ShownPost,
)
from ingress.operations import Call, Operation, Parameter, Reply, json_response
from ingress.reading.webhooks import read_webhook, secrets_of

#: 5 MiB of a picture are 7 MB in base64.
MAX_POST_BYTES = 8 * 1024 * 1024
MAX_ID_CHARS = 200
#: Nobody is kept waiting for ever: longer than any sender waits.
NEVER_S = 600.0
TOKEN_BYTES = 32
STATUSES = {"ok": 200, "slow": 200, "500": 500, "410": 410, "redirect": 302}


async def make(call: Call) -> Response:
    """Return the caller's inbox; a new one where there is none, or another one is asked for."""
    _require_box(call)
    asked, owner = await call.body(InboxRequest), call.caller.owner
    async with call.deps.pool.transaction() as tx:
        await keys.lock_owner(tx, owner)
        known = await inboxes.of_owner(tx, owner)
        if known and not asked.another:
            return json_response(_shown(call, known[0]))
        if len(known) >= MAX_PER_OWNER:
            raise Problem(
                "inboxes_exist", f"{owner!r} has {len(known)} inboxes, which is the limit"
            )
        token = secrets.token_urlsafe(TOKEN_BYTES)
        made = await inboxes.add(tx, token, owner, InboxAnswer().model_dump())
    return json_response(_shown(call, made))


async def show(call: Call) -> Response:
    """Return an inbox with what came there."""
    found = await _own(call)
    posts = await inboxes.posts(call.deps.pool, found.token)
    return json_response(
        FilledInbox.of(
            found,
            url=_url(call, found),
            answer=ShownAnswer(**found.answer),
            posts=tuple(_post(one) for one in posts),
        )
    )


async def change(call: Call) -> Response:
    """Change what an inbox answers; what it holds at this moment it goes on holding."""
    found = await _own(call)
    asked = await call.body(InboxChange)
    changed = await inboxes.set_answer(call.deps.pool, found.token, asked.answer.model_dump())
    return json_response(_shown(call, changed))


async def clear(call: Call) -> Response:
    """Forget what came to an inbox."""
    found = await _own(call)
    await inboxes.clear(call.deps.pool, found.token)
    return json_response(_shown(call, found))


async def receive(call: Call) -> Response:
    """Take a webhook, keep it for display, and answer as the inbox was told to."""
    inbox = await _find(call)
    number = await _keep(call, inbox)
    kind = inbox.answer["kind"]
    if kind in {"slow", "never"}:
        call.hold(call.deps.inbox_holds.reserved(1, inbox.token))
        if not await _held(call, NEVER_S if kind == "never" else inbox.answer["delay_s"]):
            return Response(
                status_code=HTTPStatus.SERVICE_UNAVAILABLE
            )  # nobody is there to read it
        if kind == "never":
            return Response(status_code=HTTPStatus.GATEWAY_TIMEOUT)
    status = STATUSES[kind]
    await inboxes.note_answer(call.deps.pool, number, status)
    headers = {"Location": _url(call, inbox)} if kind == "redirect" else {}
    return Response(status_code=status, headers=headers, media_type="text/plain")


async def _keep(call: Call, inbox: Inbox) -> int:
    """Read a post, check it as its receiver would, and keep it."""
    request = call.request
    check_announced(request, MAX_POST_BYTES)
    with call.memory(_announced(call)):
        pace = BodyPace(call.deps.settings.receive_timeout_s, MIN_BYTES_PER_S)
        body = await read_whole(request, max_bytes=MAX_POST_BYTES, pace=pace)
        async with call.deps.pool.connection() as connection:
            known = await secrets_of(connection, call.deps.sealing, inbox.owner, _url(call, inbox))
        # The clock of signatures is the receiver's own.
        read = await read_webhook(request.headers, body, known, call.deps.now().timestamp())
    webhook_id = request.headers.get(ID_HEADER)
    post = NewPost(
        webhook_id=None if webhook_id is None else webhook_id[:MAX_ID_CHARS],
        headers=kept_headers(request.headers.raw),
        body=body[:MAX_BODY_BYTES],
        body_bytes=len(body),
        signature_ok=read.signature_ok,
        type=read.type,
        query_id=read.query_id,
        image_id=read.image_id,
    )
    async with call.deps.pool.transaction() as tx:
        return await inboxes.add_post(tx, inbox.token, post)


def _announced(call: Call) -> int:
    length = call.request.headers.get("content-length")
    return MAX_POST_BYTES if length is None else int(length)


async def _held(call: Call, seconds: float) -> bool:
    """Hold an answer back; False where the sender has gone, or this process stops."""
    gone = False

    async def goes_on() -> bool:
        nonlocal gone
        gone = not call.deps.readiness.is_ready or await call.request.is_disconnected()
        return not gone

    async def nothing() -> None:
        pass

    await wait_until(nothing, lambda _: False, WaitLimits(seconds, goes_on=goes_on))
    return not gone


def _require_box(call: Call) -> str:
    prefix = call.deps.guards.callbacks.policy.inbox
    if not prefix:
        raise Problem("inbox_not_found", "only the standalone mode has inboxes")
    return prefix


async def _find(call: Call) -> Inbox:
    _require_box(call)
    token = call.request.path_params["token"]
    found = await inboxes.find(call.deps.pool, token) if "\0" not in token else None
    if found is None:
        raise Problem("inbox_not_found", "no such inbox")
    return found


async def _own(call: Call) -> Inbox:
    found = await _find(call)
    if not call.caller.owns(found.owner):
        raise Problem("inbox_not_found", "no such inbox")
    return found


def _url(call: Call, inbox: Inbox) -> str:
    return _require_box(call) + inbox.token


def _shown(call: Call, inbox: Inbox) -> ShownInbox:
    return ShownInbox.of(inbox, url=_url(call, inbox), answer=ShownAnswer(**inbox.answer))


def _post(post: InboxPost) -> ShownPost:
    return ShownPost.of(post, body=post.body.decode(errors="replace"))


TOKEN = Parameter("token", "path", "Of the inbox's address.")
_BODY_PROBLEMS = (
    "malformed_json", "receive_timeout", "body_too_large", "unsupported_media_type",
    "invalid_request",
)  # fmt: skip
_POSTED = {"schema": {"type": "object"}}
OPERATIONS = (
    Operation(
        "POST",
        "/inbox",
        make,
        "An address that shows webhooks",
        "inbox",
        (Reply(200, "The caller's, made if there was none.", ShownInbox),),
        scope=Scope.QUERY,
        body=InboxRequest,
        problems=("inbox_not_found", "inboxes_exist", *_BODY_PROBLEMS),
    ),
    Operation(
        "GET",
        "/inbox/{token}",
        show,
        "What came to an inbox",
        "inbox",
        (Reply(200, "The newest 100 posts of a day.", FilledInbox),),
        scope=Scope.QUERY,
        parameters=(TOKEN,),
        problems=("inbox_not_found",),
    ),
    Operation(
        "PUT",
        "/inbox/{token}",
        change,
        "What an inbox answers from now on",
        "inbox",
        (Reply(200, "As it is now.", ShownInbox),),
        scope=Scope.QUERY,
        body=InboxChange,
        parameters=(TOKEN,),
        problems=("inbox_not_found", *_BODY_PROBLEMS),
    ),
    Operation(
        "POST",
        "/inbox/{token}",
        receive,
        "The receiver itself: the token is the right",
        "inbox",
        (
            Reply(200, "Taken.", media_type="text/plain"),
            Reply(302, "As it was told.", media_type="text/plain"),
            Reply(410, "As it was told.", media_type="text/plain"),
            Reply(500, "As it was told.", media_type="text/plain"),
            Reply(504, "It was told never to answer.", media_type="text/plain"),
        ),
        media=(("application/json", _POSTED),),
        parameters=(TOKEN,),
        ignores_query=True,
        problems=(
            "inbox_not_found", "malformed_request", "receive_timeout", "body_too_large",
        ),
    ),
    Operation(
        "DELETE",
        "/inbox/{token}/posts",
        clear,
        "Forget what came to an inbox",
        "inbox",
        (Reply(200, "It is empty.", ShownInbox),),
        scope=Scope.QUERY,
        parameters=(TOKEN,),
        problems=("inbox_not_found",),
    ),
)  # fmt: skip
