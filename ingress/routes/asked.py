"""`GET /queries`, `DELETE /queries/{query_id}`: what was asked, and taking it back."""

from typing import get_args

from starlette.responses import Response

from core.storage.queries import query_deletion, query_pages
from core.storage.queries.query_pages import Filter, Status
from ingress.auth.api_keys import Scope
from ingress.http.cursors import CURSOR, cursor_of, limit_of, page_before
from ingress.http.problems import Problem
from ingress.models.queries import ListedQuery, QueryPage
from ingress.models.removals import DeletedQuery
from ingress.operations import Answer, Call, Operation, Parameter, json_response
from ingress.routes.search import read_moment, refuse_unknown, wrong

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
STATUSES: tuple[Status, ...] = get_args(Status)
_PARAMETERS = frozenset({"status", "from", "to", "cursor", "limit"})


async def list_queries(call: Call) -> Response:
    """Return one's own queries, an administrator's key all, the newest first.

    Pages go on behind the last query of the page before: queries that come meanwhile neither repeat
    nor hide any.
    """
    limit = call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    wanted = _filter(call)
    async with call.parts.tables.database.connection() as connection:
        found = await query_pages.page(connection, wanted, limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    return json_response(
        QueryPage(
            queries=tuple(_listed(call, one) for one in found[:limit]),
            next=cursor_of(last.accepted_at, last.query_id) if last else None,
        )
    )


async def delete(call: Call) -> Response:
    """Delete a query with its webhooks: what waits is not sent, what is not answered never is.

    A webhook whose turn has come at this moment may still be sent within some seconds. The
    `Idempotency-Key` that it came with, if any, stays used.
    """
    query_id = call.path_id("query_id")
    owner = None if call.caller.is_admin else call.caller.owner
    async with call.parts.tables.database.transaction() as tx:
        gone = await query_deletion.delete(tx, query_id, owner=owner)
    if gone is None:
        raise Problem("query_not_found", f"no query {query_id}")
    return json_response(
        DeletedQuery(query_id=query_id, deleted_at=gone.deleted_at, withdrawn=gone.withdrawn)
    )


def _filter(call: Call) -> Filter:
    refuse_unknown(call, _PARAMETERS)
    return Filter(
        owner=None if call.caller.is_admin else call.caller.owner,
        status=_status(call),
        since=read_moment(call, "from"),
        until=read_moment(call, "to"),
        before=page_before(call),
    )


def _status(call: Call) -> Status | None:
    text = call.request.query_params.get("status")
    for status in STATUSES:
        if text == status:
            return status
    if text is not None:
        raise wrong("status", f"{text[:100]!r} is not one of {', '.join(STATUSES)}")
    return None


def _listed(call: Call, query: query_pages.ListedQuery) -> ListedQuery:
    return ListedQuery.model_validate(
        {
            "query_id": query.query_id,
            "status": query.status,
            "outcome": query.outcome,
            "text": query.text,
            "callback_url": query.callback_url,
            "options": query.options,
            "accepted_at": query.accepted_at,
            "answered_at": query.answered_at,
            "links": {"self": call.parts.link(f"/queries/{query.query_id}")},
        }
    )


_TEXT = (("type", "string"),)
_DATE = (*_TEXT, ("format", "date-time"))
OPERATIONS = (
    Operation(
        "GET",
        "/queries",
        list_queries,
        "One's queries, page by page",
        "queries",
        (Answer(200, "At most `limit` queries, the newest first.", QueryPage),),
        scope=Scope.QUERY,
        parameters=(
            limit_of(MAX_LIMIT),
            CURSOR,
            Parameter("status", "query", "Only this status.", (*_TEXT, ("enum", list(STATUSES)))),
            Parameter("from", "query", "Only queries accepted then or later.", _DATE),
            Parameter("to", "query", "Only queries accepted before.", _DATE),
        ),
        problems=("invalid_request",),
    ),
    Operation(
        "DELETE",
        "/queries/{query_id}",
        delete,
        "Delete a query and its webhooks",
        "queries",
        (Answer(200, "Deleted; it is not answered any more.", DeletedQuery),),
        scope=Scope.QUERY,
        problems=("query_not_found",),
    ),
)
