"""What clients send to `/tag/image` and `/tag/directory`, and what they get."""

import re
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from ingress.models.roots import Input, Output, Words, examples
from schemas.image import OwnLabels, TopK

MAX_EXTENSIONS = 50
_HERE = re.compile(r"(?:\./+)+")


def _without_dot(path: str) -> str:
    """Return the path without `./` at its front, as programs write what is below their folder."""
    return path[found.end() :] if (found := _HERE.match(path)) else path


Path = Annotated[Words, Field(min_length=1, max_length=4000), AfterValidator(_without_dot)]


class _Tagging(Input):
    tags: OwnLabels | None = Field(None, description="Own labels; else the instance's.")
    top_k: TopK | None = Field(None, description="How many tags to keep.")


class TagImageRequest(_Tagging):
    """`POST /tag/image`: a file under an allowed root."""

    model_config = examples(
        {"image_path": "photos/2024/parade.jpg"},
        {"image_path": "photos/2024/lunch.jpg", "tags": ["pizza", "salad"], "top_k": 1},
    )

    image_path: Path = Field(description="`<root>/<path>`, or absolute below a root.")


class TagDirectoryRequest(_Tagging):
    """`POST /tag/directory`: all photos in a directory under an allowed root."""

    model_config = examples(
        {"directory_path": "photos/2024", "file_extensions": [".jpg", ".png"], "top_k": 4}
    )

    directory_path: Path
    file_extensions: tuple[Annotated[Words, Field(min_length=1, max_length=20)], ...] | None = (
        Field(None, min_length=1, max_length=MAX_EXTENSIONS)
    )


class TaggedFile(Output):
    """The tags of one file, best first, as `[name, confidence]`."""

    model_config = examples(
        {
            "image_path": "photos/2024/parade.jpg",
            "tags": [["landscape", 0.8945], ["city", 0.0521]],
            "exif_datetime": "2024:05:15 14:30:22",
            "error": None,
        }
    )

    image_path: str
    tags: tuple[tuple[str, float], ...]
    exif_datetime: str | None = Field(None, description="As EXIF writes it: 2024:05:15 14:30:22.")
    error: str | None = None


class PendingFile(Output):
    """A file that is not tagged yet."""

    image_path: str
    image_id: UUID
    status: Literal["accepted"] = "accepted"
    links: dict[str, str]


class AcceptedJob(Output):
    """A directory whose photos will be tagged."""

    message: str
    directory: str
    files_count: int | None = Field(description="None where counting takes too long.")
    job_id: UUID
    links: dict[str, str]
