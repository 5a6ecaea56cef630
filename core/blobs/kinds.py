"""Classify a file by its name: a supported photo, or a reason to skip it. Pure."""

from enum import StrEnum


class Skip(StrEnum):
    """The reason why a file or directory is skipped, which is counted and is no failure."""

    HIDDEN = "hidden"
    TEMPORARY = "temporary"
    SYSTEM = "system"
    SYMLINK = "symlink"
    NOT_REGULAR = "not_regular"
    RAW = "raw"
    VIDEO = "video"
    UNSUPPORTED = "unsupported"
    FILTERED = "filtered"
    EMPTY = "empty"
    PATH_TOO_LONG = "path_too_long"
    UNREADABLE = "unreadable"


def _bytes_of(text: str) -> frozenset[bytes]:
    return frozenset(word.encode() for word in text.split())


#: Extensions of the formats that tagging decodes (which looks at the bytes, not at these).
IMAGE_EXTENSIONS = _bytes_of("jpg jpeg jpe jfif png webp gif bmp dib tif tiff heic heif hif avif")
_RAW = _bytes_of(
    "3fr ari arw bay braw cap cr2 cr3 crw dcr dcs dng drf eip erf fff gpr iiq k25 kdc mdc mef mos"
    " mrw nef nrw orf ori pef ptx pxn r3d raf raw rw2 rwl rwz sr2 srf srw x3f"
)
_VIDEO = _bytes_of(
    "3g2 3gp asf avi flv insv m2t m2ts m4v mkv mov mp4 mpe mpeg mpg mts mxf ogv ts vob webm wmv"
)
# Names that browsers, sync clients and cameras give incomplete files.
_TEMPORARY = _bytes_of(
    "part partial tmp temp crdownload download filepart opdownload !ut !qb bak swp swx aria2 td"
    " processing"
)
# Folders of thumbnails and deleted files that NAS systems and desktops create.
_SYSTEM = frozenset(
    name.lower()
    for name in (
        b"@eaDir", b"#recycle", b"#snapshot", b"$RECYCLE.BIN", b"System Volume Information",
        b"lost+found", b"__MACOSX", b"@Recycle", b"@Recently-Snapshot",
    )
)  # fmt: skip


def skip_by_name(name: bytes) -> Skip | None:
    """Return why a file or directory of this name is passed over whatever it holds, or None."""
    if name.startswith(b"."):
        return Skip.HIDDEN
    if name.lower() in _SYSTEM:
        return Skip.SYSTEM
    if name.endswith(b"~") or name.startswith(b"~$") or extension_of(name) in _TEMPORARY:
        return Skip.TEMPORARY
    return None


def skip_by_kind(name: bytes, wanted: frozenset[bytes] = IMAGE_EXTENSIONS) -> Skip | None:
    """Return why a regular file of this name is no photo of the `wanted` extensions, or None."""
    extension = extension_of(name)
    if extension in IMAGE_EXTENSIONS:
        return None if extension in wanted else Skip.FILTERED
    if extension in _RAW:
        return Skip.RAW
    return Skip.VIDEO if extension in _VIDEO else Skip.UNSUPPORTED


def extension_of(name: bytes) -> bytes:
    """Return what follows the last point, in lower case; empty without a point."""
    _, point, extension = name.rpartition(b".")
    return extension.lower() if point else b""


def wanted_extensions(given: tuple[str, ...] | None) -> frozenset[bytes]:
    """Return the extensions that a caller's list (`.jpg`, `PNG`) leaves of ours; None leaves all.

    Raises:
        ValueError: none of the list is an extension of a format that we decode.
    """
    if given is None:
        return IMAGE_EXTENSIONS
    asked = frozenset(text.strip().lstrip(".").lower().encode() for text in given)
    if not asked & IMAGE_EXTENSIONS:
        known = ", ".join(sorted(extension.decode() for extension in IMAGE_EXTENSIONS))
        raise ValueError(f"none of {sorted(given)} is a supported extension ({known})")
    return asked & IMAGE_EXTENSIONS
