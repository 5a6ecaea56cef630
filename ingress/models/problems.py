"""What clients get where something is wrong."""

from pydantic import Field

from ingress.http.problems import TYPE_PREFIX
from ingress.models.roots import Output, examples


class ProblemField(Output):
    """One field that breaks a rule."""

    pointer: str = Field(description="JSON pointer into the body, or a parameter's name.")
    detail: str


class ProblemDocument(Output):
    """RFC 9457 problem details."""

    model_config = examples(
        {
            "type": f"{TYPE_PREFIX}image_too_large",
            "title": "Image too large",
            "status": 413,
            "code": "image_too_large",
            "detail": "31457280 bytes; the limit is 26214400 bytes per image",
            "instance": "/images/upload",
            "request_id": "0f2b6a0f8f0d4a63b7f4c8a5e7d21c55",
        }
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    request_id: str
    errors: tuple[ProblemField, ...] | None = None


class FileError(Output):
    """The reason why one file of an upload was refused."""

    code: str
    title: str
    detail: str
