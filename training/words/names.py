"""The names that the text tower learns, and the kinds of picture that they are true of.

A kind is a class: one of the training pictures' or one of the thousand that the picture tower was
trained on. Everything that is taught of a picture follows from its kind.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from timm.data import ImageNetInfo

from training.pictures import LabelledPicture
from training.tower import CLASSES
from training.words.prompts import LABELS

_HERE = Path(__file__).parent
_GROUPS = _HERE / "groups.txt"
_CLASS_LABELS = _HERE / "class_labels.txt"
UNSURE = "unsure"
# Pictures of these show no label and look as if: they count several times.
LOOKALIKES = ("people", "flowers", "surfaces")

# Classes of the training pictures that are ImageNet's under another name, or share a name with
# another one of ImageNet's (a crane may be a bird).
_SAME = {
    "mountain (alp)": 970,
    "seashore beach": 978,
    "plate of food": 923,
    "crane": 517,
    "cardigan": 474,
    "station wagon": 436,
    "gasmask": 570,
    "Leopards": 288,
    "camera": 759,
    "cellphone": 487,
    "cougar_face": 286,
    "llama": 355,
    "rooster": 7,
    "grand_piano": 579,
    "nautilus": 117,
    "panda": 388,
    "crayfish": 124,
    "lobster": 122,
    "binocular": 447,
    "sunflower": None,
    "bass": None,
    "chair": None,
}
_PLAIN = {  # how people call them
    "Motorbikes": "motorbike",
    "airplanes": "airplane",
    "car_side": "car",
    "water_lilly": "water lily",
    "football": "football (soccer)",
    "formula1": "Formula 1 motor racing",
    "motogp": "MotoGP motorcycle racing",
    "hockey": "field hockey",
    "wwe": "professional wrestling",
    "shooting": "olympic shooting",
    "Leopards": "leopard",
    "cougar_face": "cougar",
    "seashore beach": "seashore",
    "mountain (alp)": "alp",
    "plate of food": "plate",
}
_SPORTS = "Sports-Type-Classifier"  # its "cricket" is no insect


@dataclass(frozen=True, slots=True)
class PictureKind:
    """A class of pictures, and what is true of them.

    names: the class's own, all meaning the same. groups: wider names that it belongs to.
    twin: of ImageNet's classes, the one that it is.
    labels: of the project's labels, the main one first; None where that is not known.
    lookalike: one of LOOKALIKES, or empty.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    labels: tuple[str, ...] | None
    lookalike: str = ""
    twin: int | None = None


@dataclass(frozen=True, slots=True)
class Kinds:
    """All kinds and the kind of each training picture.

    The first thousand are those of ImageNet, the last one is that of surfaces drawn by the program.
    """

    kinds: tuple[PictureKind, ...]
    of_pictures: tuple[int, ...]

    @property
    def drawn(self) -> int:
        """Return the place of the kind of drawn surfaces."""
        return len(self.kinds) - 1

    def texts(self) -> tuple[str, ...]:
        """Return every name and group once, in alphabetical order."""
        return tuple(sorted({text for kind in self.kinds for text in (*kind.names, *kind.groups)}))


@dataclass(frozen=True, slots=True)
class _Members:
    numbers: frozenset[int]
    names: frozenset[str]


def _members(path: Path) -> dict[str, _Members]:
    """Return a file's lines `name: 1-3, 7, some name`."""
    rows: dict[str, _Members] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition(": ")
        numbers: set[int] = set()
        names: set[str] = set()
        for part in rest.split(", "):
            found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
            if found:
                numbers.update(range(int(found[1]), int(found[2] or found[1]) + 1))
            else:
                names.add(part)
        rows[name] = _Members(frozenset(numbers), frozenset(names))
    return rows


def imagenet_kinds() -> tuple[PictureKind, ...]:
    """Return the kinds of ImageNet's classes, with the groups and labels written by hand."""
    info = ImageNetInfo()
    groups, labels = _members(_GROUPS), _members(_CLASS_LABELS)
    kinds = []
    for number in range(CLASSES):
        names = tuple(name.strip() for name in info.index_to_description(number).split(","))
        own = tuple(name for name in LABELS if name in labels and number in labels[name].numbers)
        lookalikes = [name for name in LOOKALIKES if number in labels[name].numbers]
        kinds.append(
            PictureKind(
                names=tuple(dict.fromkeys(names)),
                groups=tuple(name for name, row in groups.items() if number in row.numbers),
                labels=None if number in labels[UNSURE].numbers else own,
                lookalike=lookalikes[0] if lookalikes else "",
                twin=number,
            )
        )
    return tuple(kinds)


def _same_class(picture: LabelledPicture, by_name: Mapping[str, int]) -> int | None:
    if _SPORTS in picture.source:
        return None
    if picture.source_class in _SAME:
        return _SAME[picture.source_class]
    return by_name.get(picture.source_class.replace("_", " ").lower())


def _plain(source_class: str) -> tuple[str, ...]:
    if source_class in _PLAIN:
        return (_PLAIN[source_class],)
    return tuple(source_class.replace("_", " ").split("+"))


def kinds_of(pictures: Sequence[LabelledPicture]) -> Kinds:
    """Return ImageNet's kinds and those of the pictures; the words of one go to its twin."""
    kinds = list(imagenet_kinds())
    by_name = {
        name.lower(): at for at, kind in reversed([*enumerate(kinds)]) for name in kind.names
    }
    groups = _members(_GROUPS)
    places: dict[tuple[str, tuple[str, ...]], int] = {}
    for picture in pictures:
        key = picture.source_class, picture.labels
        if key in places:
            continue
        twin = _same_class(picture, by_name)
        wider = _wider(picture, groups)
        if twin is not None:
            wider = tuple(dict.fromkeys((*wider, *kinds[twin].groups)))
            kinds[twin] = replace(kinds[twin], groups=wider)
        names = tuple(dict.fromkeys((*_plain(picture.source_class), *_names(kinds, twin))))
        places[key] = len(kinds)
        lookalike = _lookalike(kinds, twin, picture)
        kinds.append(PictureKind(names, _without(wider, names), picture.labels, lookalike, twin))
    kinds.append(PictureKind((), (), (), "surfaces"))
    return Kinds(tuple(kinds), tuple(places[p.source_class, p.labels] for p in pictures))


def _wider(picture: LabelledPicture, groups: Mapping[str, _Members]) -> tuple[str, ...]:
    parts = {picture.source_class, *picture.source_class.split("+")}
    named = (name for name, row in groups.items() if parts & row.names)
    return tuple(dict.fromkeys((*picture.words, *named)))


def _names(kinds: Sequence[PictureKind], twin: int | None) -> tuple[str, ...]:
    return () if twin is None else kinds[twin].names


def _without(groups: Iterable[str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(group for group in groups if group not in names)


def _lookalike(kinds: Sequence[PictureKind], twin: int | None, picture: LabelledPicture) -> str:
    if picture.labels:
        return ""
    if twin is not None and kinds[twin].lookalike:
        return kinds[twin].lookalike
    return "flowers" if "flower" in picture.words else ""
