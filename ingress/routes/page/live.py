"""`GET /events` and `GET /stats/pipeline`: what goes on now."""

from starlette.responses import Response

from ingress.auth.api_keys import Scope
from ingress.http.problems import Extra, FieldError, Problem
from ingress.live.listeners import Viewer
from ingress.live.rhythm import RHYTHM
from ingress.live.streaming import MEDIA_TYPE, stream
from ingress.live.topics import report, shown_jobs
from ingress.models.page.live import Hello
from ingress.models.page.pipeline import PipelineReport
from ingress.operations import Call, Operation, Parameter, Reply, json_response

#: As the routes of the same data.
SCOPES = {
    "images": Scope.READ,
    "jobs": Scope.PATHS,
    "queries": Scope.QUERY,
    "pipeline": Scope.READ,
    "labels": Scope.READ,
    "inbox": Scope.QUERY,
}
_NAMES = "|".join(SCOPES)
FOR = "for"
STANDALONE = "standalone"  # stands where a scope would: only that mode has inboxes


async def events(call: Call) -> Response:
    """Return one stream of server-sent events for all topics that are asked for.

    The first event, `hello`, says which topics it tells and which the key may not have. A snapshot
    of each topic follows, then its changes. Who reads too slowly gets a new snapshot in place of
    what was missed, and so does who connects again: events need not be counted.
    """
    longest_s = call.deps.rhythm.longest_s
    within_s = (
        call.seconds("for", most=longest_s) if FOR in call.request.query_params else longest_s
    )
    asked = _asked(call)
    left_out = {name: SCOPES[name].value for name in asked if not call.caller.may(SCOPES[name])}
    if "inbox" in asked and not call.deps.guards.callbacks.policy.inbox:
        left_out["inbox"] = STANDALONE
    told = tuple(name for name in asked if name not in left_out)
    call.hold_waiting()
    return stream(call, told, Hello(topics=told, left_out=left_out), within_s)


async def pipeline(call: Call) -> Response:
    """Return how each stage of the pipeline stands, and what the processes say of themselves."""
    look = await call.deps.pipeline.look()
    async with call.deps.pool.connection() as connection:
        shown = await shown_jobs(connection, call.deps.base_url)
    return json_response(report(look, shown, Viewer(call.own_only)))


def _asked(call: Call) -> tuple[str, ...]:
    text = call.request.query_params.get("topics", "")
    names = tuple(dict.fromkeys(text.split(",")))
    if not SCOPES.keys() >= set(names):
        detail = f"topics: {text[:100]!r} is not some of {', '.join(SCOPES)}, with commas between"
        raise Problem("invalid_request", detail, Extra(errors=(FieldError("topics", detail),)))
    return names


OPERATIONS = (
    Operation(
        "GET",
        "/events",
        events,
        "What changes, as it changes",
        "analytics",
        (Reply(200, "Server-sent events, for ten minutes at most.", media_type=MEDIA_TYPE),),
        any_key=True,
        parameters=(
            Parameter(
                "topics",
                "query",
                f"Which topics, with commas between: {', '.join(SCOPES)}.",
                (("type", "string"), ("pattern", f"^({_NAMES})(,({_NAMES}))*$")),
                is_required=True,
            ),
            Parameter(
                FOR,
                "query",
                "Seconds after which the stream ends; clients connect again by themselves.",
                (("type", "number"), ("minimum", 0), ("maximum", RHYTHM.longest_s)),
            ),
            Parameter("Last-Event-ID", "header", "Sent by browsers; any value is a new beginning."),
        ),
        problems=("invalid_request", "overloaded"),
    ),
    Operation(
        "GET",
        "/stats/pipeline",
        pipeline,
        "What waits where, and who works on it",
        "analytics",
        (Reply(200, "As it is now.", PipelineReport),),
        scope=Scope.READ,
        problems=("invalid_request",),
    ),
)
