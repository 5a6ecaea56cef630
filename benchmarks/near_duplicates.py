"""Accuracy of "the same photo": by the cosine, by the perceptual hash, and by both.

    python -m benchmarks.near_duplicates SOURCE [SOURCE…] [--photos 3000] [--hashed 20000]

A source is a folder or a zip of photos. Each photo is changed in usual ways (saved again, scaled,
trimmed) and compared with the original (missed pairs), and all photos with each other (false
pairs); `--hashed` photos are compared by their hash alone, which is quick. Copies among the sources
count as false pairs: check the printed ones before relying on the figure. The model is the bundled
one. Different letters on one letterhead are made here, and each is scanned twice.
"""

import argparse
import asyncio
import io
import random
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.harness.changed_photos import CHANGES, saved
from benchmarks.harness.report import print_machine
from core.settings import TaggingSettings
from core.storage.finding.duplicates import LONE_COSINE, SAME_PHOTO_BITS, SAME_PHOTO_COSINE
from core.storage.finding.texts import texts_differ
from core.vision.clip import ClipModel
from core.vision.decoding import pixels, sniff
from core.vision.decoding.perceptual import FLAT, perceptual_hash
from core.vision.decoding.reduction import orientation, upright
from core.vision.decoding.worker_protocol import PixelFormat
from core.vision.decoding.writing.lines import text_lines
from core.vision.opening import open_model
from tests.fakes.letters import letter, scanned

SEED = 20260501
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
LIMITS = sniff.Limits()
BITS = (2, 4, 6, 8, 10, 12)
FADING = (0.02, 0.04, 0.06, 0.1, 0.15)  # shares of the contrast that remain
_MOST_SHOWN = 50
LETTERS = 30

Hashes = NDArray[np.uint64]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Seen:
    """The hashes, embeddings and contrasts of some pictures, in their order.

    Attributes:
        contrasts: standard deviation of the grey picture.
        texts: the lines of each page of text.
    """

    hashes: Hashes
    vectors: Vectors
    contrasts: NDArray[np.float64]
    texts: Sequence[bytes | None]

    def bits_apart(self, other: Self) -> NDArray[np.int64]:
        """Return the number of differing bits per picture; 0 where a hash is not usable."""
        judged = (self.hashes != FLAT) & (other.hashes != FLAT)
        return np.where(judged, np.bitwise_count(self.hashes ^ other.hashes), 0).astype(np.int64)


async def see(model: ClipModel, files: Sequence[bytes]) -> Seen:
    """Decode, hash and encode the pictures."""
    form = model.pixel_format(fast=True)
    shown = [pixels.decode(data, form, LIMITS) for data in files]
    rows = np.stack([np.frombuffer(one.pixels, np.uint8) for one in shown])
    rows = rows.reshape(-1, form.height, form.width, 3)
    vectors = [await model.encode(rows[at : at + 64]) for at in range(0, len(rows), 64)]
    return Seen(
        np.array([perceptual_hash(one.grey) for one in shown], np.uint64),
        np.concatenate(vectors),
        np.array([np.frombuffer(one.grey, np.uint8).std() for one in shown]),
        [_lines(one) for one in shown],
    )


def _lines(shown: pixels.DecodedPicture) -> bytes | None:
    if not shown.page:
        return None
    return text_lines(np.frombuffer(shown.page, np.uint8).reshape(shown.page_size[::-1]))


def draw(sources: Sequence[Path], count: int) -> dict[str, bytes]:
    """Return some of the photos of these sources by name, drawn evenly."""
    found = [each for source in sources for each in _photos(source)]
    return {
        name: read() for name, read in random.Random(SEED).sample(found, min(count, len(found)))
    }


def _photos(source: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if source.is_dir():
        names = (path for path in sorted(source.rglob("*")) if path.suffix.lower() in ENDINGS)
        yield from ((str(path.relative_to(source)), path.read_bytes) for path in names)
        return
    archive = zipfile.ZipFile(source)
    for name in archive.namelist():
        if name.lower().endswith(ENDINGS):
            yield name, partial(archive.read, name)


def print_false_pairs(names: Sequence[str], seen: Seen) -> None:
    """Print how many pairs of photos are taken for the same one, and some of those pairs."""
    by_hash, lone_cosine, by_cosine = dict.fromkeys(BITS, 0), 0, 0
    told: list[str] = []
    for at, name in enumerate(names):
        apart = np.bitwise_count(seen.hashes[at] ^ seen.hashes[at + 1 :])
        judged = (seen.hashes[at] != FLAT) & (seen.hashes[at + 1 :] != FLAT)
        cosines = seen.vectors[at + 1 :] @ seen.vectors[at]
        for bits in BITS:
            by_hash[bits] += int((judged & (apart <= bits)).sum())
        near = cosines >= SAME_PHOTO_COSINE
        by_cosine += int(near.sum())
        lone_cosine += int((cosines >= LONE_COSINE).sum())
        near &= np.where(judged, apart <= SAME_PHOTO_BITS, cosines >= LONE_COSINE)
        told += [
            f"  {apart[other]:2} {cosines[other]:.3f} {name} {names[at + 1 + other]}"
            for other in np.flatnonzero(near).tolist()
        ]
    pairs = len(names) * (len(names) - 1) // 2
    print(f"\npairs taken for the same photo among {pairs:,}:")
    print("  by the hash " + ", ".join(f"≤ {bits}: {count}" for bits, count in by_hash.items()))
    print(
        f"  by the cosine from {LONE_COSINE}: {lone_cosine}, from {SAME_PHOTO_COSINE}: {by_cosine}"
    )
    print(f"  by both: {len(told)}; bits, cosine, names:")
    print("\n".join(told[:_MOST_SHOWN]))


def print_close_hashes(photos: Mapping[str, bytes]) -> None:
    """Print how many pairs of photos have nearly equal hashes, and the closest pairs."""
    names, form = list(photos), PixelFormat(64, 64)
    hashes = np.array(
        [perceptual_hash(pixels.decode(data, form, LIMITS).grey) for data in photos.values()],
        np.int64,
    )
    counts, told = dict.fromkeys(BITS, 0), []
    for at in np.flatnonzero(hashes != FLAT).tolist():
        apart = np.bitwise_count(hashes[:at] ^ hashes[at])
        apart[hashes[:at] == FLAT] = 64
        for bits in BITS:
            counts[bits] += int((apart <= bits).sum())
        near = np.flatnonzero(apart <= SAME_PHOTO_BITS).tolist()
        told += [f"  {apart[other]:2} {names[other]} {names[at]}" for other in near]
    print(
        f"{len(names):,} photos, flat: {(hashes == FLAT).sum()}; pairs with hashes nearly the same:"
    )
    print("  " + ", ".join(f"≤ {bits}: {count}" for bits, count in counts.items()))
    print("\n".join(sorted(told)[:_MOST_SHOWN]) + "\n")


def missed(one: Seen, other: Seen) -> str:
    """Return a row of the table: per cent of pairs that are not recognised as the same photo."""
    apart = one.bits_apart(other)
    cosines = (one.vectors * other.vectors).sum(axis=1)
    shares = [(apart > bits).mean() for bits in BITS]
    shares += [(cosines < least).mean() for least in (LONE_COSINE, SAME_PHOTO_COSINE)]
    differ = np.array([texts_differ(*both) for both in zip(one.texts, other.texts, strict=True)])
    shares.append(((cosines < SAME_PHOTO_COSINE) | (apart > SAME_PHOTO_BITS) | differ).mean())
    return " ".join(f"{100 * share:6.2f}" for share in shares)


async def print_letters(model: ClipModel) -> None:
    """Print how many different letters on one letterhead, and scans of one, are the same photo."""
    print(
        f"\n{LETTERS} letters on one letterhead: pairs by hash and cosine, and of these by lines:"
    )
    for paragraphs in (1, 2, 5):
        made = [letter(seed, paragraphs=paragraphs) for seed in range(LETTERS)]
        sent = await see(model, [saved(one) for one in made])
        scans = [
            await see(
                model, [saved(scanned(one, first + at), quality=60) for at, one in enumerate(made)]
            )
            for first in (0, LETTERS)
        ]
        places = range(LETTERS)
        different = _told(sent, sent, [(one, other) for other in places for one in range(other)])
        same = _told(scans[0], scans[1], [(one, one) for one in places])
        print(f"  {paragraphs} paragraphs: different {different}, one scanned twice {same}")


def _told(one: Seen, other: Seen, pairs: Sequence[tuple[int, int]]) -> str:
    near = [
        (at, by)
        for at, by in pairs
        if int(one.hashes[at] ^ other.hashes[by]).bit_count() <= SAME_PHOTO_BITS
        and float(one.vectors[at] @ other.vectors[by]) >= SAME_PHOTO_COSINE
    ]
    left = sum(not texts_differ(one.texts[at], other.texts[by]) for at, by in near)
    return f"{len(near)} and {left} of {len(pairs)}"


def print_contrasts(images: Sequence[Image.Image]) -> None:
    """Print how many bits change when pictures of low contrast are saved at quality 60."""
    moved: dict[int, list[int]] = {}
    for image in images:
        for share in FADING:
            faint = image.point(lambda value, share=share: 128 + (value - 128) * share)
            greys = [_grey(saved(faint, "PNG")), _grey(saved(faint, quality=60))]
            contrast = int(np.frombuffer(greys[0], np.uint8).std())
            one, other = (perceptual_hash(grey, least_contrast=0) for grey in greys)
            moved.setdefault(min(contrast, 12), []).append((one ^ other).bit_count())
    print("\nbits moved by JPEG at 60, by contrast (standard deviation of the grey levels):")
    for contrast, bits in sorted(moved.items()):
        over = sum(each > SAME_PHOTO_BITS for each in bits) / len(bits)
        print(
            f"  {contrast:2}: {len(bits):5} photos, mean {np.mean(bits):5.2f}, "
            f"beyond {SAME_PHOTO_BITS} bits {100 * over:6.2f} %"
        )


def _grey(data: bytes) -> bytes:
    return pixels.decode(data, PixelFormat(), LIMITS).grey


def print_costs(files: Sequence[bytes]) -> None:
    """Print the cost of the hash beside that of decoding."""
    form = PixelFormat()
    began = time.process_time()
    greys = [pixels.decode(data, form, LIMITS).grey for data in files]
    decoded = time.process_time()
    for grey in greys:
        perceptual_hash(grey)
    ended = time.process_time()
    each = 1e6 / len(files)
    print(
        f"per photo, to 224 pixels: decoding with the grey picture {(decoded - began) * each:.0f} "
        f"µs, the hash {(ended - decoded) * each:.0f} µs (CPU)"
    )


async def report(model: ClipModel, photos: Mapping[str, bytes]) -> None:
    """Print all tables."""
    files = list(photos.values())
    opened = [Image.open(io.BytesIO(data)) for data in files]
    images = [upright(image, orientation(image)).convert("RGB") for image in opened]
    seen = await see(model, files)
    print(f"{len(files)} photos")
    print_costs(files[:500])
    print_false_pairs(list(photos), seen)
    beyond = " ".join(f"{f'> {bits}':>6}" for bits in BITS)
    print(f"\nmissed, % {'':18} {beyond} < {LONE_COSINE} < {SAME_PHOTO_COSINE:.2f}   both")
    for name, change in CHANGES.items():
        other = await see(model, [change(image) for image in images])
        print(f"  {name:26} {missed(seen, other)}")
    print_contrasts(images[:300])
    await print_letters(model)


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--photos", type=int, default=3000)
    parser.add_argument("--hashed", type=int, default=20_000)
    arguments = parser.parse_args()
    print_machine()
    pixels.prepare_libraries(LIMITS)
    print_close_hashes(draw(arguments.sources, arguments.hashed))
    settings = TaggingSettings(model="demo", engine="torch", torch_threads=1)
    async with open_model(settings) as model:
        await report(model, draw(arguments.sources, arguments.photos))


if __name__ == "__main__":
    asyncio.run(main())
