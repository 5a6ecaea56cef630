"""A file of queries: one per line, as text or as a JSON object. Pure but for `submit_all`."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import ValidationError

from core.errors import PermanentError, QueryInvalid, TransientError
from core.messaging.ports import RecordPublisher, Sent
from producers.publishing import Collector, Patience, publish_all
from producers.queries import QueryProducer, fresh_query_id, query_id_of
from schemas.query import QuerySubmitted

BATCH_QUERIES = 200
_FIELDS = {"text", "callback_url", "options"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file, read or not.

    Attributes:
        number: counted from 1.
        query: what it asks, or what is wrong with it.
    """

    number: int
    query_id: UUID
    query: QuerySubmitted | QueryInvalid


@dataclass(frozen=True, slots=True)
class Submitted:
    """The result of a line; `problem` is None where Kafka has the query."""

    line: Line
    problem: PermanentError | TransientError | None


def read_lines(
    lines: Iterable[str], *, callback_url: str | None, run: str | None = None
) -> Iterator[Line]:
    """Read queries; empty lines and lines that begin with `#` are passed over.

    A line that begins with `{` is a JSON object `{"text", "callback_url"?, "options"?}`, any other
    is the sentence itself.

    Args:
        lines: the file's lines.
        callback_url: where answers go that name no address of their own.
        run: a name under which the same file may be submitted again without asking anything
            twice; None: every submission asks anew.
    """
    for number, raw in enumerate(lines, start=1):
        text = raw.strip()
        if text and not text.startswith("#"):
            query_id = fresh_query_id() if run is None else query_id_of("", f"{run}/{number}")
            yield Line(number, query_id, _query(text, callback_url, query_id))


async def submit_all(
    publisher: RecordPublisher, lines: Sequence[Line], patience: Patience
) -> list[Submitted]:
    """Publish the queries of these lines together; return each line's outcome, in order."""
    collector = Collector()
    producer = QueryProducer(collector, "/producers/queries")
    problems: dict[int, PermanentError | TransientError] = {}
    sendable: list[Line] = []
    for line in lines:
        if isinstance(line.query, QueryInvalid):
            problems[line.number] = line.query
            continue
        await producer.submit(line.query)
        sendable.append(line)
    sent: list[Sent] = await publish_all(publisher, collector.records, patience)
    for line, outcome in zip(sendable, sent, strict=True):
        if isinstance(outcome, PermanentError | TransientError):
            problems[line.number] = outcome
    return [Submitted(line, problems.get(line.number)) for line in lines]


def _query(text: str, callback_url: str | None, query_id: UUID) -> QuerySubmitted | QueryInvalid:
    try:
        fields = json.loads(text) if text.startswith("{") else {"text": text}
        if unknown := set(fields) - _FIELDS:
            return QueryInvalid(f"unknown field {min(unknown)!r}; known: {sorted(_FIELDS)}")
        url = fields.get("callback_url") or callback_url
        if not url:
            return QueryInvalid("no callback_url in the line, and no --callback-url")
        return QuerySubmitted.model_validate(
            {
                "query_id": query_id,
                "text": str(fields["text"]),
                "callback_url": str(url),
                "options": fields.get("options") or {},
            }
        )
    except json.JSONDecodeError as error:
        return QueryInvalid(f"no JSON: {error}")
    except KeyError:
        return QueryInvalid("no field 'text'")
    except ValidationError as error:
        return _explained(error)


def _explained(error: ValidationError) -> QueryInvalid:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return QueryInvalid(f"{where}: {problem['msg']}")
