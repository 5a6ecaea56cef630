"""Events about images, and how an image is identified."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID, uuid5

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from schemas.labels import MAX_LABELS
from schemas.names import distinct
from schemas.strict import NAMESPACE, Event, LabelName, Text, read_whole, without_repeats

SCHEMES = ("blob", "file", "https", "http", "s3", "gs", "az")
#: Images up to this size may travel in the record itself (content-type image/*).
INLINE_MAX_BYTES = 512 * 1024
MAX_URI_CHARS = 4000
MAX_PATH_CHARS = MAX_URI_CHARS  # of a path in an event: whatever a URI can name can be shown whole
MAX_DETAIL_CHARS = 1000
#: One image's own labels, and how many tags it keeps: on a topic and over HTTP alike.
OwnLabels = Annotated[
    tuple[LabelName, ...],
    Field(min_length=1, max_length=MAX_LABELS, json_schema_extra={"uniqueItems": True}),
    BeforeValidator(without_repeats),
    AfterValidator(distinct),
]
#: Above the number of labels it means all of them; so any greater number does.
TopK = Annotated[
    int,
    Field(ge=1),
    BeforeValidator(read_whole),
    AfterValidator(lambda asked: min(asked, MAX_LABELS)),
]
#: `ce_source` of who goes through photos that are there: nobody asked for this one. A deletion
#: holds against such an arrival until the bytes are others.
SCAN_SOURCES = frozenset(
    {"/producers/images", "/producers/watch", "/producers/jobs", "/producers/retag"}
)


def canonical_uri(uri: str) -> str:
    """Return the text that identifies an image: `sha256:<hex>` for kept bytes, else the URI itself.

    Unicode is not folded: two names that differ in bytes are two files.
    """
    return f"sha256:{uri.removeprefix('blob:')}" if uri.startswith("blob:") else uri


def image_id_of(uri: str) -> UUID:
    """Return the image's identity: UUIDv5 of its canonical URI."""
    return uuid5(NAMESPACE, canonical_uri(uri))


def path_of(uri: str) -> str:
    """Return what people see of an image that has no name of its own: the URI less `file:`."""
    return canonical_uri(uri).removeprefix("file:")


class ImageArrived(Event):
    """An image that is to be tagged. Value of `images.arrived.v1` and `images.bulk.v1`.

    The image's identity is always `image_id_of(uri)`; a record's key only chooses its partition.

    Attributes:
        uri: `blob:<sha256 hex>`, `file:<root>/<relative path>`, `https:`, `s3:`, `gs:` or `az:`.
        path: what people see as `image_path`; None: derived from the URI.
        labels: this image's own labels; None: the instance's default labels.
        top_k: how many tags to keep; None: the instance's setting.
        sha256: hash of the bytes when announced; None where the announcer did not read them.
        owner: owner of the API key that uploaded it; None for command-line producers.
        job_id: the directory job that announced it.
    """

    uri: Text = Field(min_length=1, max_length=MAX_URI_CHARS)
    path: Text | None = Field(None, max_length=MAX_PATH_CHARS)
    labels: OwnLabels | None = None
    top_k: TopK | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    owner: Text | None = Field(None, max_length=200)
    job_id: UUID | None = None

    @field_validator("uri")
    @classmethod
    def _check_uri(cls, value: str) -> str:
        scheme, separator, rest = value.partition(":")
        if not separator or scheme not in SCHEMES or not rest:
            raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}")
        if scheme == "blob" and (len(rest) != 64 or set(rest) - set("0123456789abcdef")):
            raise ValueError("blob: takes a SHA-256 in lower-case hex")
        if scheme == "file" and (rest.startswith("/") or ".." in rest.split("/")):
            raise ValueError("file: takes <root name>/<relative path>, without '..'")
        return value

    @property
    def image_id(self) -> UUID:
        """Identity of the image."""
        return image_id_of(self.uri)

    @property
    def image_path(self) -> str:
        """The path shown to people, of any length: as given, else from the URI."""
        return self.path or path_of(self.uri)


class Tag(Event):
    """A tag with its confidence in 0..1, six decimals."""

    tag: Text
    score: float = Field(ge=0, le=1)


class Failure(Event):
    """The reason why something failed: a stable code, and a sentence for people."""

    reason: Text
    detail: Text = ""

    @classmethod
    def saying(cls, reason: str, detail: str) -> Self:
        """Return a failure with as much of this text as an event can hold.

        It may quote what somebody sent: what no text can be is replaced.
        """
        said = detail[:MAX_DETAIL_CHARS].replace("\x00", "")
        return cls(reason=reason, detail=said.encode("utf-8", "replace").decode())


class ImageTagged(Event):
    """The tags of an image, or the reason why it has none. Value of `images.tagged.v1`."""

    image_id: UUID
    uri: Text
    path: Text
    tags: tuple[Tag, ...] = ()
    sha256: str | None = None
    model: Text | None = None
    exif_datetime: datetime | None = None
    exif_source: Text | None = None
    truncated: bool = False
    width: int | None = None
    height: int | None = None
    job_id: UUID | None = None
    error: Failure | None = None
    tagged_at: datetime
