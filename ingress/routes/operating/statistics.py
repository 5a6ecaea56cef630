"""`GET /tags` and `GET /stats`: figures of the archive, from stored counts."""

from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from core.storage.archive import statistics
from ingress.auth.api_keys import Scope
from ingress.http.parameters import read_moment, text_of
from ingress.models.statistics import (
    ShownCamera,
    ShownFailures,
    ShownTagCount,
    ShownTagPair,
    Statistics,
    TagStatistics,
)
from ingress.operations import Call, Operation, Parameter, Reply, json_response
from ingress.reading.filters import MAX_TAG_CHARS

DEFAULT_DAYS = 30
DEFAULT_PAIRS, MAX_PAIRS = 20, 200
SHOWN_CAMERAS = 100
THROUGHPUT_HOURS = 48


async def tags(call: Call) -> Response:
    """Return all tags with counts and mean confidences, and the commonest pairs."""
    limit = call.whole("pairs", DEFAULT_PAIRS, least=0, most=MAX_PAIRS)
    tag = text_of(call, "with", most=MAX_TAG_CHARS)
    return json_response(
        TagStatistics(
            tags=tuple(
                ShownTagCount.of(one)
                for one in await statistics.tags(call.deps.pool, owner=call.own_only)
            ),
            pairs=tuple(
                ShownTagPair.of(one)
                for one in await statistics.pairs(call.deps.pool, limit, tag, owner=call.own_only)
            ),
            pairs_among=statistics.NEWEST_IMAGES,
        )
    )


async def stats(call: Call) -> Response:
    """Return images per status, day taken, hour tagged and camera, and failures by reason."""
    owner = call.own_only
    until = read_moment(call, "to") or call.deps.now() + timedelta(days=1)
    since = read_moment(call, "from") or until - timedelta(days=DEFAULT_DAYS)
    begun = max(since, until - timedelta(hours=THROUGHPUT_HOURS))
    async with call.deps.pool.connection() as connection:
        failures = await statistics.failures(connection, since, until, owner=owner)
        cameras = await statistics.cameras(connection, SHOWN_CAMERAS, owner=owner)
        shown = Statistics(
            since=since,
            until=until,
            statuses=await statistics.counts(connection, "status", owner=owner),
            days=await statistics.days(connection, since.date(), until.date(), owner=owner),
            hours=await statistics.counts(
                connection, "hour", _hour(begun), _hour(until), owner=owner
            ),
            failures=tuple(ShownFailures.of(one) for one in failures),
            cameras=tuple(
                ShownCamera(camera=camera, images=images) for camera, images in cameras.items()
            ),
        )
    return json_response(shown)


def _hour(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H")


_DATE = (("type", "string"), ("format", "date-time"))
OPERATIONS = (
    Operation(
        "GET",
        "/tags",
        tags,
        "All tags, and which occur together",
        "analytics",
        (Reply(200, "Counts and mean confidences.", TagStatistics),),
        scope=Scope.READ,
        parameters=(
            Parameter(
                "with",
                "query",
                "Only pairs with this tag.",
                (("type", "string"), ("minLength", 1), ("maxLength", MAX_TAG_CHARS)),
            ),
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
        (Reply(200, "Per status, day, hour and camera; failures by reason.", Statistics),),
        scope=Scope.READ,
        parameters=(
            Parameter("from", "query", "The last 30 days, if absent.", _DATE),
            Parameter("to", "query", "Before this; tomorrow, if absent.", _DATE),
        ),
        problems=("invalid_request",),
    ),
)
