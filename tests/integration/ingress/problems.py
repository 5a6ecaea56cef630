"""What every error response must look like."""

from typing import Any

import httpx

from ingress.http.problems import BY_CODE


def problem_in(response: httpx.Response, code: str) -> dict[str, Any]:
    """The problem of a response, checked against RFC 9457 and our catalogue."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    document: dict[str, Any] = response.json()
    kind = BY_CODE[code]
    assert document["code"] == code, document
    assert response.status_code == kind.status == document["status"]
    assert document["type"] == f"/docs/problems#{code}"
    assert document["title"] == kind.title
    assert document["detail"]
    assert document["request_id"] == response.headers["x-request-id"]
    return document
