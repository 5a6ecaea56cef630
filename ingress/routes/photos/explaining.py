"""`GET /images/{image_id}/explain`: why a search finds an image, or why it does not."""

from starlette.responses import Response

from core.tags import score_to_float
from ingress.auth.api_keys import Scope
from ingress.auth.ownership import visible_image
from ingress.models.search import (
    BestImage,
    ExplainedWord,
    Explanation,
    MissingTag,
    MissReason,
    ShownTerm,
)  # fmt: skip
from ingress.operations import Call, Operation, Reply, json_response
from ingress.reading import explaining, filters
from ingress.reading.explaining import ExplainedSearch
from ingress.reading.filters import AskedFilter

_PARAMETERS = tuple(one for one in filters.PARAMETERS if one.name != "id")


async def explain(call: Call) -> Response:
    """Return what the same parameters of `GET /images` make of one image, found or not."""
    image_id = call.path_id("image_id")
    asked = await filters.understand(call, filters.read_filter(call))
    async with call.deps.pool.connection() as connection:
        image = await visible_image(connection, image_id, call.caller)
        explained = await explaining.explain(connection, asked, image)
    return json_response(
        Explanation(
            image_id=image_id,
            is_found=explained.is_found,
            score=explained.score,
            terms=tuple(map(ShownTerm.of_term, explained.terms)),
            words=_words(asked),
            missing=tuple(
                MissingTag.of(one, why="below_min_score" if one.is_weak else "not_among_its_tags")
                for one in explained.missing
            ),
            reasons=tuple(map(MissReason.of, explained.reasons)),
            best=_best(explained),
        )
    )


def _words(asked: AskedFilter) -> tuple[ExplainedWord, ...]:
    if asked.meaning is None:
        return ()
    return tuple(
        ExplainedWord.of(token, lemmas=sorted(token.lemmas), tags=asked.meaning.tags_of(token.text))
        for token in asked.meaning.tokens
    )


def _best(explained: ExplainedSearch) -> BestImage | None:
    if explained.best is None:
        return None
    score = explained.best.score
    return BestImage(
        image_id=explained.best.image.image_id,
        score=None if score is None else score_to_float(score),
    )


OPERATIONS = (
    Operation(
        "GET",
        "/images/{image_id}/explain",
        explain,
        "Why a search finds an image, or why not",
        "images",
        (Reply(200, "The words, what they count, what is missing.", Explanation),),
        scope=Scope.READ,
        parameters=(*_PARAMETERS, filters.ORDER),
        problems=("image_not_found", "invalid_request"),
    ),
)
