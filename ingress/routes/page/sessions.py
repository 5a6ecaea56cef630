"""`/session`: signing in to the page and out of it, and links that sign in once."""

from starlette.responses import Response

from core.storage import labels
from core.storage.stream import heartbeats
from core.vision.decoding.sniff import MEDIA_TYPES
from core.vision.demo_card import is_demo
from ingress.auth.access import HEADER
from ingress.auth.cross_site import is_loopback, is_secure, refuse_other_pages
from ingress.auth.sessions import (
    COOKIE,
    LONGEST,
    LOOPBACK_COOKIE,
    BegunSession,
    link_of,
    token_of,
)
from ingress.http.problems import Problem
from ingress.models.page.sessions import ShownInstance, ShownLink, ShownSession, SignIn
from ingress.operations import Call, Operation, Reply, json_response
from ingress.routes.operating.health import MODEL_SILENCE
from schemas.names import fold


async def begin(call: Call) -> Response:
    """Sign in with a key or the code of a one-time link, which is used up; set the cookie."""
    request, deps = call.request, call.deps
    refuse_other_pages(request, deps.base_url)
    name = _cookie_name(call)
    given = await call.body(SignIn)
    ring = deps.guards.sessions
    begun = (
        await ring.begin_with_key(request, given.key)
        if given.key is not None
        else await ring.begin_with_code(request, given.code or "", may_leave=bool(given.leave))
    )
    await ring.end(request)  # the browser forgets that cookie: nobody could sign it out
    response = json_response(await _shown(call, begun))
    _set_cookie(response, name, begun.value, int(LONGEST.total_seconds()))
    return response


async def show(call: Call) -> Response:
    """Return who is signed in, or whose key was sent, and what this instance is."""
    ring = call.deps.guards.sessions
    if ring.cookie_of(call.request) is not None:
        return json_response(await _shown(call, await ring.session_of(call.request)))
    principal = call.caller
    key = await call.deps.guards.keys.find(call.request.headers[HEADER])
    return json_response(
        ShownSession(
            owner=principal.owner,
            key_id=principal.key_id,
            scopes=tuple(sorted(principal.scopes)),
            token=None,
            expires_at=None if key is None else key.expires_at,
            instance=await _instance(call),
        )
    )


async def end(call: Call) -> Response:
    """Sign out: the session ends, and the browser forgets what it kept of the archive."""
    await call.deps.guards.sessions.end(call.request)
    response = Response(status_code=204, headers={"Clear-Site-Data": '"cache"'})
    if call.deps.guards.sessions.cookie_of(call.request) is not None:
        _set_cookie(response, _cookie_name(call), "", 0)
    return response


async def make_link(call: Call) -> Response:
    """Return a link that signs in once, within ten minutes, with the rights of the same key."""
    code, expires_at = await call.deps.guards.sessions.make_code(call.caller.key_id)
    return json_response(ShownLink(url=link_of(call.deps.base_url, code), expires_at=expires_at))


def _cookie_name(call: Call) -> str:
    if is_secure(call.request, call.deps.base_url):
        return COOKIE
    if is_loopback(call.request):
        return LOOPBACK_COOKIE
    # A browser would not keep a secure cookie, and any other could be read on the way.
    raise Problem("insecure_origin", "this address is plain http, and not on this machine")


def _set_cookie(response: Response, name: str, value: str, max_age_s: int) -> None:
    response.set_cookie(
        name, value, max_age=max_age_s, path="/", httponly=True, samesite="strict",
        secure=name == COOKIE,
    )  # fmt: skip


async def _shown(call: Call, begun: BegunSession) -> ShownSession:
    key = begun.session.key
    return ShownSession(
        owner=key.owner,
        key_id=key.key_id,
        scopes=tuple(sorted(key.scopes)),
        token=token_of(begun.value),
        expires_at=begun.session.ends_at,
        instance=await _instance(call),
    )


async def _instance(call: Call) -> ShownInstance:
    deps = call.deps
    async with deps.pool.connection() as connection:
        in_force = (await labels.current(connection)).labels
        running = await heartbeats.models(connection, MODEL_SILENCE)
    model = running[0].model if running else deps.model
    unknown = {fold(name) for name in deps.facts.unseen} if is_demo(model) else set()
    return ShownInstance(
        version=deps.version,
        model=model.partition("@")[0],
        is_demo_model=is_demo(model),
        standalone=deps.facts.is_standalone,
        scoring=deps.facts.scoring,
        labels=len(in_force),
        unknown_labels=tuple(label.name for label in in_force if fold(label.name) in unknown),
        base_url=deps.base_url,
        max_upload_bytes=deps.settings.max_image_bytes,
        max_upload_pixels=deps.facts.max_pixels,
        media_types=MEDIA_TYPES,
    )


_BODY_PROBLEMS = (
    "malformed_json", "receive_timeout", "body_too_large", "unsupported_media_type",
    "invalid_request",
)  # fmt: skip
OPERATIONS = (
    Operation(
        "POST",
        "/session",
        begin,
        "Sign in to the page",
        "session",
        (
            Reply(
                200,
                "Signed in.",
                ShownSession,
                headers=(("Set-Cookie", "The session; scripts cannot read it."),),
            ),
        ),
        body=SignIn,
        problems=(
            *_BODY_PROBLEMS,
            "key_invalid",
            "cross_site",
            "insecure_origin",
            "signed_in_as_other",
            "unavailable",
        ),
    ),
    Operation(
        "GET",
        "/session",
        show,
        "Who is signed in",
        "session",
        (Reply(200, "The session, and the instance.", ShownSession),),
        any_key=True,
    ),
    Operation(
        "DELETE",
        "/session",
        end,
        "Sign out",
        "session",
        (
            Reply(
                204, "Signed out.", headers=(("Clear-Site-Data", "What the browser is to forget."),)
            ),
        ),
        any_key=True,
    ),
    Operation(
        "POST",
        "/session/link",
        make_link,
        "A link that signs in once",
        "session",
        (Reply(200, "The link.", ShownLink),),
        any_key=True,
    ),
)
