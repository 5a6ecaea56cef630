"""`GET /tags` and `GET /stats`: the archive in figures, from counts that are kept."""

from datetime import timedelta

from starlette.responses import Response

from core.storage.archive.statistics import NEWEST_IMAGES
from ingress.auth.api_keys import Scope
from ingress.models.search import (
    ShownCamera,
    ShownFailures,
    ShownTagCount,
    ShownTagPair,
    Statistics,
    TagStatistics,
)
from ingress.operations import Answer, Call, Operation, Parameter, json_response
from ingress.routes.search import read_moment, refuse_unknown, wrong

DEFAULT_DAYS = 30
DEFAULT_PAIRS, MAX_PAIRS = 20, 200
_TAGS, _STATS = frozenset({"with", "pairs"}), frozenset({"from", "to"})


async def tags(call: Call) -> Response:
    """Return all tags with counts and mean confidences, and the commonest pairs."""
    refuse_unknown(call, _TAGS)
    limit = call.whole("pairs", DEFAULT_PAIRS, least=0, most=MAX_PAIRS)
    tag = call.request.query_params.get("with")
    if tag is not None and "\x00" in tag:
        raise wrong("with", "no such tag")
    insights = call.parts.insights
    return json_response(
        TagStatistics(
            tags=tuple(
                ShownTagCount(tag=one.tag, images=one.images, mean_confidence=one.mean_confidence)
                for one in await insights.tags()
            ),
            pairs=tuple(
                ShownTagPair(tags=one.tags, images=one.images)
                for one in await insights.pairs(limit, tag)
            ),
            pairs_among=NEWEST_IMAGES,
        )
    )


async def stats(call: Call) -> Response:
    """Return images per status, day taken, hour tagged and camera, and failures by reason."""
    refuse_unknown(call, _STATS)
    until = read_moment(call, "to") or call.parts.now() + timedelta(days=1)
    since = read_moment(call, "from") or until - timedelta(days=DEFAULT_DAYS)
    counts = await call.parts.insights.counts(since, until)
    return json_response(
        Statistics(
            since=since,
            until=until,
            statuses=dict(counts.statuses),
            days=dict(counts.days),
            hours=dict(counts.hours),
            failures=tuple(
                ShownFailures(reason=one.reason, images=one.images, last_at=one.last_at)
                for one in counts.failures
            ),
            cameras=tuple(
                ShownCamera(camera=camera, images=images)
                for camera, images in counts.cameras.items()
            ),
        )
    )


_DATE = (("type", "string"), ("format", "date-time"))
OPERATIONS = (
    Operation(
        "GET",
        "/tags",
        tags,
        "All tags, and which occur together",
        "analytics",
        (Answer(200, "Counts and mean confidences.", TagStatistics),),
        scope=Scope.READ,
        parameters=(
            Parameter("with", "query", "Only pairs with this tag."),
            Parameter(
                "pairs",
                "query",
                "How many pairs.",
                (("type", "integer"), ("minimum", 0), ("maximum", MAX_PAIRS)),
            ),
        ),
        problems=("invalid_request",),
    ),
    Operation(
        "GET",
        "/stats",
        stats,
        "The archive in figures",
        "analytics",
        (Answer(200, "Per status, day, hour and camera; failures by reason.", Statistics),),
        scope=Scope.READ,
        parameters=(
            Parameter("from", "query", "The last 30 days, if absent.", _DATE),
            Parameter("to", "query", "Before this; tomorrow, if absent.", _DATE),
        ),
        problems=("invalid_request",),
    ),
)
