"""`GET /lemmas`: how the words of a text match labels."""

from starlette.responses import Response

from ingress.auth.api_keys import Scope
from ingress.http.parameters import wrong
from ingress.models.search import Lemmas, NamingToken
from ingress.operations import Call, Operation, Parameter, Reply, json_response
from ingress.reading.filters import TEXT, check_text
from ingress.routes.photos.image_list import matched_labels


async def explain(call: Call) -> Response:
    """Return the words of a text, their lemmas, and the labels that they name."""
    text = call.request.query_params.get("text")
    if text is None:
        raise wrong("text", "is missing")
    check_text(call, text)
    meaning = await call.deps.reader.understand(text)
    nearest = await call.deps.reader.nearest(meaning)
    return json_response(
        Lemmas(
            text=text,
            tokens=tuple(
                NamingToken.of(
                    token, lemmas=sorted(token.lemmas), nearest=nearest.get(token.text, ())
                )
                for token in meaning.tokens
            ),
            matched=matched_labels(meaning.matched),
        )
    )


OPERATIONS = (
    Operation(
        "GET",
        "/lemmas",
        explain,
        "How a text is understood",
        "analytics",
        (Reply(200, "Words, lemmas, matched labels.", Lemmas),),
        scope=Scope.READ,
        parameters=(
            Parameter(
                "text", "query", "A sentence, as a query would have it.", TEXT, is_required=True
            ),
        ),
        problems=("invalid_request",),
    ),
)
