"""`/dead-letters`: list dead letters, and replay them to their topic."""

from starlette.responses import Response

from core.storage import asking
from core.storage.stream import letter_pages, replays
from core.storage.stream.letter_pages import DeadLetterFilter, ListedLetter
from core.storage.stream.replays import LetterFilter
from core.transaction import Transaction
from ingress.auth.api_keys import Scope
from ingress.http.cursors import CURSOR, cursor_of_number, limit_of, page_below
from ingress.http.parameters import text_of
from ingress.http.problems import Extra, FieldError, Problem, retry_later
from ingress.http.repeating import KEY, REPLAYED, answer_before, asked_once, idempotency_key
from ingress.models.dead_letters import (
    LetterPage,
    ReplayOutcome,
    ReplayRequest,
    ShownLetter,
    ShownLetterGroup,
)
from ingress.operations import Call, Operation, Parameter, Reply, json_response
from producers.publishing import Patience
from producers.replay import ChoiceRefused, Replay, choose
from schemas.topics import EVENT_MAX_BYTES

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
MAX_NAME_CHARS = 249  # Kafka's limit for the name of a topic
HEADER_CHARS = 200
#: At most so many letters are in memory at a time.
REPLAY_BATCH = 20
RETRY_AFTER_S = 5


async def list_letters(call: Call) -> Response:
    """Return dead letters that were not replayed, the newest first, and counts by reason.

    Their values are not shown: they are what clients sent. `photo-archive letters replay` and
    `POST /dead-letters/replay` put them back as they were.
    """
    limit = call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    wanted = _filter(call)
    found = await letter_pages.page(call.deps.pool, wanted, limit + 1)
    groups = await letter_pages.groups(call.deps.pool)
    return json_response(
        LetterPage(
            groups=tuple(ShownLetterGroup.of(one) for one in groups),
            letters=tuple(_shown(one) for one in found[:limit]),
            next=cursor_of_number(found[limit - 1].id) if len(found) > limit else None,
        )
    )


async def replay(call: Call) -> Response:
    """Put dead letters back on their topic, unchanged, the oldest first; or only count them.

    A record that fails again becomes a new letter. Two requests at the same moment may put some
    records back twice, which is harmless: they have the same ids.
    """
    asked = await call.body(ReplayRequest)
    idempotency_key(call)  # a wrong one is refused though counting needs none
    try:
        wanted = choose(asked.topic, group=asked.group, reason=asked.reason)
    except ChoiceRefused as error:
        detail = f"{error.name}: {error}"
        field = FieldError(f"/{error.name}", str(error))
        raise Problem("invalid_request", detail, Extra(errors=(field,))) from error
    with call.memory(REPLAY_BATCH * EVENT_MAX_BYTES):
        if asked.dry_run:
            async with call.deps.pool.connection() as connection:
                return json_response(await _count(connection, wanted))
        return await _replay_once(call, asked, wanted)


async def _replay_once(call: Call, asked: ReplayRequest, wanted: LetterFilter) -> Response:
    """Put letters back, or tell what a request with the same key has put back before."""
    once = asked_once(call, "replay", asked)
    async with call.deps.pool.connection() as connection:
        if before := await answer_before(connection, once):
            return json_response(ReplayOutcome.model_validate(before), headers={REPLAYED: "true"})
        try:
            done = await _put_back(call, connection, wanted, asked.limit)
        except Problem:  # nothing was put back
            if once is not None:
                await asking.drop(connection, once)
            raise
        if once is not None:
            await asking.answer(connection, once, done.model_dump(mode="json"))
    return json_response(done)


async def _count(connection: Transaction, wanted: LetterFilter) -> ReplayOutcome:
    """Return how many letters match. It reads them all; a replay reads only what it puts back."""
    matched = await replays.counts(connection, wanted)
    unreadable = 0 if wanted.reason else await replays.count_unreadable(connection, wanted)
    return ReplayOutcome(matched=matched, replayed={}, refused={}, unreadable=unreadable)


async def _put_back(
    call: Call, connection: Transaction, wanted: LetterFilter, limit: int
) -> ReplayOutcome:
    # No retries: the client is waiting, and may ask again.
    publisher = call.deps.departures.outbox.publisher
    replaying = Replay(connection, publisher, Patience(limit_s=0), REPLAY_BATCH)
    done = await replaying.run(wanted, limit)
    if done.refused.get("broker_away") and not done.by_reason:
        raise retry_later(
            "unavailable", "Kafka is away: nothing was put back", after_s=RETRY_AFTER_S
        )
    return ReplayOutcome(replayed=dict(done.by_reason), refused=dict(done.refused))


def _filter(call: Call) -> DeadLetterFilter:
    return DeadLetterFilter(
        topic=_name(call, "topic"),
        group=_name(call, "group"),
        reason=_name(call, "reason"),
        before=page_below(call),
    )


def _name(call: Call, parameter: str) -> str | None:
    return text_of(call, parameter, most=MAX_NAME_CHARS)


def _shown(letter: ListedLetter) -> ShownLetter:
    return ShownLetter.of(
        letter,
        letter_id=letter.id,
        key=None if letter.key is None else letter.key.decode("utf-8", "replace"),
        headers={
            name: value.decode("utf-8", "replace")[:HEADER_CHARS] for name, value in letter.headers
        },
        recorded_at=letter.record_at,
        set_aside_at=letter.created_at,
    )


_NAME = (("type", "string"), ("minLength", 1), ("maxLength", MAX_NAME_CHARS))
OPERATIONS = (
    Operation(
        "GET",
        "/dead-letters",
        list_letters,
        "Records that were set aside, page by page",
        "dead letters",
        (Reply(200, "At most `limit` letters, the newest first.", LetterPage),),
        scope=Scope.ADMIN,
        parameters=(
            limit_of(MAX_LIMIT),
            CURSOR,
            Parameter("topic", "query", "Only what lay on this topic.", _NAME),
            Parameter("group", "query", "Only what this consumer group set aside.", _NAME),
            Parameter("reason", "query", "Only what was set aside for this.", _NAME),
        ),
        problems=("invalid_request",),
    ),
    Operation(
        "POST",
        "/dead-letters/replay",
        replay,
        "Put records that were set aside back on their topic",
        "dead letters",
        (
            Reply(
                200,
                "They are on the topic again, or only counted.",
                ReplayOutcome,
                headers=((REPLAYED, "`true` where this key came before."),),
            ),
        ),
        scope=Scope.ADMIN,
        body=ReplayRequest,
        parameters=(KEY,),
        problems=(
            "idempotency_key_reused", "under_way",
            "malformed_json", "receive_timeout", "body_too_large", "unsupported_media_type",
            "invalid_request",
        ),
    ),
)  # fmt: skip
