"""`GET /lemmas`: how a text is understood."""

from starlette.responses import Response

from ingress.auth.api_keys import Scope
from ingress.models.search import Lemmas, ShownToken
from ingress.operations import Answer, Call, Operation, Parameter, json_response
from ingress.routes.search import TEXT, matched_labels, read_text, wrong


async def explain(call: Call) -> Response:
    """Return the words of a text, their lemmas, and the labels that they name."""
    text = read_text(call)
    if text is None:
        raise wrong("text", "is missing")
    meaning = await call.parts.insights.understand(text)
    return json_response(
        Lemmas(
            text=text,
            tokens=tuple(
                ShownToken(
                    text=token.text,
                    lemmas=tuple(sorted(token.lemmas)),
                    is_function=token.is_function,
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
        (Answer(200, "Words, lemmas, matched labels.", Lemmas),),
        scope=Scope.READ,
        parameters=(
            Parameter(
                "text", "query", "A sentence, as a query would have it.", TEXT, is_required=True
            ),
        ),
        problems=("invalid_request",),
    ),
)
