"""Names of cameras, as they are displayed and used as keys. Pure."""

from core.vision.decoding.metadata import moments
from core.vision.decoding.worker_protocol import MAX_CAMERA_CHARS


def camera_name(make: object, model: object) -> str | None:
    """Join maker and model; a maker that the model repeats, as Canon's do, is named once.

    Line breaks, control characters and direction marks become blanks, since the name is displayed
    and used as a key.
    """
    maker, name = _words(make), _words(model)
    if maker and name and name[0].casefold() == maker[0].casefold():
        maker = []  # also "NIKON CORPORATION" before "NIKON D90"
    words = [*maker, *name]
    while len(words) > 1 and words[0].casefold() == words[1].casefold():
        del words[0]
    return " ".join(words)[:MAX_CAMERA_CHARS].rstrip() or None


def _words(value: object) -> list[str]:
    text = moments.text_of(value)[: 4 * MAX_CAMERA_CHARS]  # some blocks have kilobytes of padding
    return "".join(char if char.isprintable() else " " for char in text).split()
