"""Query parameters that an operation does not read are refused, wherever there is a schema."""

import pytest
from starlette.requests import Request

from ingress.admitting import _refuse_unknown
from ingress.app import DESCRIBED
from ingress.http.problems import Problem
from ingress.operations import Operation

#: Where anything may come with the address.
EXCEPTIONS = {
    ("GET", "/health"): "orchestrators ask as they like, and are always answered",
    ("GET", "/livez"): "the same",
    ("GET", "/readyz"): "the same",
    ("GET", "/metrics"): "Prometheus adds what its configuration says",
    ("POST", "/inbox/{token}"): "it stands for any receiver, whose addresses have parameters",
}
STRICT = tuple(one for one in DESCRIBED if (one.method, one.path) not in EXCEPTIONS)


def request(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


@pytest.mark.parametrize("operation", STRICT, ids=lambda one: f"{one.method} {one.path}")
def test_an_unknown_query_parameter_is_refused_by_every_operation(operation: Operation) -> None:
    known = [one.name for one in operation.parameters if one.place == "query"]

    assert not operation.ignores_query
    with pytest.raises(Problem) as caught:
        _refuse_unknown(request("unknown=1"), operation)

    assert caught.value.extra.errors[0].pointer == "unknown"
    assert all(name in caught.value.detail for name in known)
    assert known or "none is known" in caught.value.detail
    _refuse_unknown(request("&".join(f"{name}=1" for name in known)), operation)


def test_the_exceptions_are_those_with_a_reason() -> None:
    lenient = {(one.method, one.path) for one in DESCRIBED if one.ignores_query}

    assert lenient == EXCEPTIONS.keys()
