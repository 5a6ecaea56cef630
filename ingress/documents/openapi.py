"""OpenAPI 3.1 from the route table and its models."""

from collections.abc import Iterable, Sequence
from inspect import getdoc
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ingress.auth.access import HEADER
from ingress.auth.cross_site import SAFE
from ingress.auth.sessions import COOKIE, LOOPBACK_COOKIE, TOKEN_HEADER
from ingress.http.problems import BY_CODE, MEDIA_TYPE, Kind
from ingress.models.problems import ProblemDocument
from ingress.operations import BINARY, Operation, Reply

_TEMPLATE = "#/components/schemas/{model}"
_ALWAYS = ("malformed_request", "target_too_long", "head_too_large", "internal_error", "overloaded")
_WITH_KEY = ("key_missing", "key_invalid", "session_missing", "unavailable")

Document = dict[str, Any]


def build(operations: Sequence[Operation], *, version: str, server: str) -> Document:
    """Return the document of these operations.

    Args:
        server: address at which clients reach this instance.
    """
    schemas, references = _schemas(operations)
    paths: dict[str, Document] = {}
    for operation in operations:
        item = paths.setdefault(operation.path, {})
        item[operation.method.lower()] = _operation(operation, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Photo archive",
            "version": version,
            "description": "A photo archive that tags itself and answers questions. Errors are"
            " RFC 9457 problems; their kinds stand at /docs/problems. A path that is not here is"
            " 404 `not_found`, also one with `%2F` in a part, which divides it; another method on a"
            " path that is here is 405 `method_not_allowed` with `Allow`. Both are problems too.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": HEADER},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "What the page signs in with (`POST /session`). Methods that"
                    f" change anything need `{TOKEN_HEADER}` beside it, and the page's own origin."
                    f" Over plain http on the same machine it is called `{LOOPBACK_COOKIE}`.",
                },
            },
        },
    }


def _schemas(operations: Sequence[Operation]) -> tuple[Document, dict[type[BaseModel], str]]:
    inputs = {one.body for one in operations if one.body is not None}
    outputs = {
        reply.model for one in operations for reply in one.replies if reply.model is not None
    } | {ProblemDocument}
    wanted: list[tuple[type[BaseModel], Any]] = [
        *((model, "validation") for model in sorted(inputs, key=_name)),
        *((model, "serialization") for model in sorted(outputs, key=_name)),
    ]
    mapping, definitions = models_json_schema(wanted, ref_template=_TEMPLATE)
    references = {model: mapping[(model, mode)]["$ref"] for model, mode in wanted}
    schemas = {name: _without_no_defaults(schema) for name, schema in definitions["$defs"].items()}
    return schemas, references


def _without_no_defaults(schema: Document) -> Document:
    """Return a schema whose fields have no default that they would not take (`SkipJsonSchema`)."""
    fields = {
        name: {key: value for key, value in field.items() if key != "default"}
        if field.get("default", ...) is None and field.get("type", "null") != "null"
        else field
        for name, field in schema.get("properties", {}).items()
    }
    return schema | {"properties": fields} if fields else schema


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _operation(operation: Operation, references: dict[type[BaseModel], str]) -> Document:
    document: Document = {
        # Generators make a name of a function of it.
        "operationId": f"{operation.group}_{operation.handler.__name__}".replace(" ", "_"),
        "summary": operation.summary,
        # It is Markdown, where indented lines would be code.
        "description": getdoc(operation.handler) or operation.summary,
        "tags": [operation.group],
        "parameters": _parameters(operation),
        "responses": _responses(operation, references),
        "security": _security(operation),
    }
    if operation.body is not None:
        content = {"application/json": {"schema": {"$ref": references[operation.body]}}}
        document["requestBody"] = {"required": True, "content": content}
    if operation.media:
        document["requestBody"] = {"required": True, "content": dict(operation.media)}
    return document


def _security(operation: Operation) -> list[Document]:
    if not operation.needs_key:
        return []
    # OpenAPI 3.1 lets any scheme name the roles it needs.
    roles = [] if operation.scope is None else [operation.scope.value]
    either = [{"key": roles}, {"session": roles}]
    return [*either, {}] if operation.takes_links else either


def _parameters(operation: Operation) -> list[Document]:
    in_path: list[Document] = [
        {
            "name": part[1:-1],
            "in": "path",
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
        }
        for part in operation.path.split("/")
        if part.startswith("{") and part.endswith("_id}")
    ]
    given: list[Document] = [
        {
            "name": one.name,
            "in": one.place,
            "description": one.meaning,
            "required": one.is_required or one.place == "path",
            "schema": dict(one.schema),
        }
        for one in operation.parameters
    ]
    return in_path + given


def _responses(operation: Operation, references: dict[type[BaseModel], str]) -> Document:
    responses = {str(one.status): _reply(one, references) for one in operation.replies}
    for status, kinds in _by_status(_problems_of(operation)):
        responses.setdefault(str(status), _problem(kinds, references))
    return responses


def _reply(reply: Reply, references: dict[type[BaseModel], str]) -> Document:
    document: Document = {"description": reply.meaning}
    if reply.model is not None:
        document["content"] = {reply.media_type: {"schema": {"$ref": references[reply.model]}}}
    elif reply.status not in {204, 304}:
        document["content"] = {reply.media_type: {"schema": _schema_of(reply.media_type)}}
    if reply.as_events:
        document["content"]["text/event-stream"] = {"schema": {}}
    if reply.headers:
        document["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}}
            for name, meaning in reply.headers
        }
    return document


def _schema_of(media_type: str) -> Document:
    """Return the schema of a body that is no JSON."""
    if media_type == "text/event-stream":
        return {}  # it is that of an event, which is an object of fields
    # Generated clients decode a plain string as text, which pictures are not.
    return {"type": "string"} if media_type.startswith("text/") else dict(BINARY)


def _problems_of(operation: Operation) -> tuple[Kind, ...]:
    codes = [*operation.problems, *_ALWAYS]
    if not operation.ignores_query:
        codes.append("invalid_request")  # of a query parameter that it does not read
    if operation.needs_key:
        codes += _WITH_KEY
    if operation.scope is not None:
        codes.append("scope_missing")
    if operation.needs_key and operation.method not in SAFE:
        codes.append("cross_site")
    if not operation.is_probe:
        codes.append("rate_limited")
    return tuple(BY_CODE[code] for code in dict.fromkeys(codes))


def _by_status(kinds: Iterable[Kind]) -> list[tuple[int, list[Kind]]]:
    grouped: dict[int, list[Kind]] = {}
    for kind in kinds:
        grouped.setdefault(kind.status, []).append(kind)
    return sorted(grouped.items())


def _problem(kinds: Sequence[Kind], references: dict[type[BaseModel], str]) -> Document:
    document: Document = {
        "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in kinds),
        "content": {MEDIA_TYPE: {"schema": {"$ref": references[ProblemDocument]}}},
    }
    if kinds[0].status in {429, 503}:
        document["headers"] = {
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
        }
    return document
