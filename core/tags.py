"""Shared values: labels, scores and the tags of one image."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

#: Scores are stored as integer millionths, so that sums are exact and ties are real (float sums
#: depend on the order of addition). They are rounded once, here.
SCORE_SCALE = 1_000_000
#: Labels that single images brought, or people set by hand: whoever may send images may bring some,
#: and none ever goes. The rest of `schemas.labels.MAX_LABELS` is kept for the default set.
MAX_OWN_LABELS = 25_000


def score_to_int(score: float) -> int:
    """Return a confidence in 0..1 as integer millionths, rounded half to even."""
    return round(score * SCORE_SCALE)


def score_to_float(score: int) -> float:
    """Return integer millionths as a confidence rounded to six decimals."""
    return round(score / SCORE_SCALE, 6)


@dataclass(frozen=True, slots=True)
class Label:
    """One label that an image can be given.

    Attributes:
        name: the tag as stored and shown, e.g. `Victory Day`; unique, case kept.
        aliases: further names under which a query may ask for it, in any language.
        templates: prompt templates with `{}` for the name; empty: the default templates.
        threshold: raw cosine under which `scoring = threshold` gives no tag; None: the default.
        photos: ids of the images that teach it, beside its prompts or instead of them.
        by_words: whether its prompts count where photos teach it.
        id: the label's id in the database; None where it has none yet (an event's own labels).
    """

    name: str
    aliases: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    threshold: float | None = None
    photos: tuple[UUID, ...] = ()
    by_words: bool = True
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a model has learnt of a label from photos.

    Attributes:
        photos: so many say it.
        awaited: so many more are to be tagged by this model first: until then the label waits.
        direction: float16 bytes, little endian, unit length: where they lie; None: the label waits.
        gain: a picture's cosine to it, times this,
        lift: plus this, compares with the cosines to labels of words.
    """

    photos: int
    awaited: int = 0
    direction: bytes | None = field(default=None, repr=False)
    gain: float = 1.0
    lift: float = 0.0


@dataclass(frozen=True, slots=True)
class TagScore:
    """A label's name with its confidence in integer millionths (0..1_000_000)."""

    tag: str
    score: int

    @property
    def confidence(self) -> float:
        """The confidence in 0..1, six decimals."""
        return score_to_float(self.score)


@dataclass(frozen=True, slots=True)
class ImageTags:
    """The result of tagging one image.

    Attributes:
        tags: best first; at most `top_k` of them.
        embedding: float16 bytes, little endian, unit length, of the model's dimension.
        model: identity of the model (name, weights hash) whose tags these are.
        preprocessing: version of the preprocessing, e.g. `exact-2`.
        exif_datetime: time of the shot as written in the file, without zone; None if absent.
        exif_source: the field that it comes from: DateTimeOriginal, DateTimeDigitized, ModifyDate,
            XMP, IPTC or GPS.
        truncated: whether the file ends before the picture does.
        camera: its maker and model by EXIF, at most 100 characters; None if absent.
        perceptual_hash: 63 bits of its look; 0 for a picture without enough contrast.
        colour: mean of the picture in sRGB, 0xRRGGBB.
        text_lines: 8 bytes for each line of a page of text: where its ink stands; None: no page.
        size_bytes: of the file; None where nobody said it.
    """

    tags: tuple[TagScore, ...]
    sha256: bytes
    width: int
    height: int
    model: str
    preprocessing: str
    embedding: bytes = field(repr=False)
    exif_datetime: datetime | None = None
    media_type: str = "application/octet-stream"
    camera: str | None = None
    perceptual_hash: int | None = None
    exif_source: str | None = None
    truncated: bool = False
    colour: int | None = None
    text_lines: bytes | None = field(default=None, repr=False)
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class TagRequest:
    """The options for one image; None: the instance's default.

    Attributes:
        labels: the image's own labels.
        top_k: how many tags it may get.
    """

    labels: tuple[str, ...] | None = None
    top_k: int | None = None


class Made(NamedTuple):
    """When an arrival was made; of two of one image the greater one wins.

    Attributes:
        is_fresh: it came by the fresh lane, which wins where the times are equal.
    """

    at: datetime
    is_fresh: bool


@dataclass(frozen=True, slots=True)
class Tagged:
    """An image's tags, and which labels they were chosen from.

    Attributes:
        label_version: version of the default labels used; None for the image's own labels.
        top_k: how many tags it could have had.
        thumb: a small JPEG of it; empty where it was not decoded.
    """

    tags: ImageTags
    label_version: int | None
    top_k: int
    thumb: bytes = field(default=b"", repr=False)


class ThumbSize(StrEnum):
    """The sizes of thumbnails."""

    SMALL = "small"  # 256 to 400 rows, made at tagging
    LARGE = "large"  # its longer side has at most 1600 pixels, made when asked for


@dataclass(frozen=True, slots=True)
class Thumb:
    """A thumbnail.

    Attributes:
        sha256: of the bytes of the picture that it shows.
        jpeg: its own bytes.
    """

    sha256: bytes
    size: ThumbSize
    jpeg: bytes = field(repr=False)


class Slowness(StrEnum):
    """Why an image cannot be tagged at once; stable, as clients and metrics see it."""

    PICTURE = "slow_picture"  # decoding takes longer than its share
    MEMORY = "large_picture"  # decoding takes more memory than an ordinary decoder has
    SOURCE = "slow_source"  # whoever has the bytes sends them slowly


@dataclass(frozen=True, slots=True)
class Postponed:
    """An image that others must not wait for: it is to be tagged apart from them."""

    why: Slowness
