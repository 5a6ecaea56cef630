"""What schemathesis loads beside the document: data that a schema cannot describe.

Given to it as SCHEMATHESIS_HOOKS. Photos are real ones, callback addresses are addresses; and a
refusal by a rule that JSON Schema has no word for is no failure, each of these being named here.
"""

from typing import Any, Final

import schemathesis
from hypothesis import strategies as st

from tests.fakes.pictures import jpeg

PHOTOS: Final = tuple(jpeg(seed, (16, 12)) for seed in range(4))
MAX_WAIT_S = 0.2
#: Code of the check -> rules that JSON Schema cannot express: what the problem's detail says.
SCHEMA_VALID_REJECTED = "ST202"
#: Of wrong keys 20 are answered at once and one a second after that, whatever they are for: 70
#: operations need more. `test_access.py` asks every one of them without a key.
WRONG_KEY_TAKEN = "ST401"
UNSPEAKABLE = (
    "stands twice",  # equal in one property, or but for the case of its letters
    "must lie before",  # one property against another
    "is a supported extension",  # at least one of several, in any case of letters
    "host name",  # what is one, and what is an address
    "an unusual spelling",
    "the URL has no host",
    "contains a NUL character",  # beside another pattern
    "must name a folder",  # the same
    "without a text it is one tag's confidence",  # one property against another
    "not the cursor of a page",  # opaque
    "is not in force",  # the version in If-Match
    "is not the ETag",  # header patterns are not kept to
    "with another body",  # Idempotency-Key
    "was deleted; take another key",
    "must not be blank",  # what is a space beyond ASCII depends on the engine
    "not a token of an upload",  # opaque
    "scheme 'http' is not allowed",  # the address of a one-time link, taken for a webhook's
    "takes at most 100 ids",  # in a filter under a name; elsewhere the same filter takes more
    "has neither photos nor words",  # one property against another
    "teach a label",  # none, or 3 to 10
    "no image ",  # ids that are not there, as photos of a label
    "has no embedding",
    "holds what",  # a dead-letter topic and another group
)

for media_type in ("image/*", "image/jpeg", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, st.sampled_from(PHOTOS))
schemathesis.openapi.format(
    "uri",
    st.from_regex(
        r"https://(example\.org|hooks\.example\.com)(:8443)?/[a-z0-9/]{0,30}", fullmatch=True
    ),
)


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Any, kwargs: dict[str, Any]) -> None:
    """Long polls and streams are asked for, but short ones: what counts is how many there are.

    Here and not in `map_query`, which chains of requests do not pass.
    """
    query = case.query or {}
    if case.path == "/events":
        case.query = query | {"for": MAX_WAIT_S}
        return
    try:
        wait = float(query.get("wait", 0))  # a number, or one as text
    except (TypeError, ValueError):
        return
    if MAX_WAIT_S < wait <= 30:
        query["wait"] = MAX_WAIT_S


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Any, case: Any, response: Any
) -> bool:
    """Drop refusals by a rule that no schema can express; everything else counts."""
    if failure.code == WRONG_KEY_TAKEN and "429" in failure.message:
        return False  # `response` is that to the right key
    if failure.code != SCHEMA_VALID_REJECTED or response.status_code not in {412, 422}:
        return True
    detail = str(response.json()["detail"])
    return not any(rule in detail for rule in UNSPEAKABLE)
