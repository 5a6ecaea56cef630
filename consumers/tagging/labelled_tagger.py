"""CLIP with the labels that are in force, for the tagging role: the same bytes are encoded once."""

import asyncio
import hashlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace

from consumers.tagging.teaching import Teaching
from core.errors import PermanentError
from core.storage import labels
from core.storage.archive import embeddings
from core.tags import ImageTags, Postponed, Tagged, TagRequest, TagScore
from core.transaction import Database
from core.vision.tagger import ClipTagger, Result
from schemas.names import distinct


@dataclass(frozen=True, slots=True)
class LabelledTagger:
    """CLIP with the current default labels; the same bytes are encoded only once.

    Args:
        reused: is called with how many pictures needed neither decoder nor model, for metrics.
        offer_thumb: is called with SHA-256 and thumbnail of each picture that was decoded.
    """

    database: Database
    clip: ClipTagger
    reused: Callable[[int], object] = lambda _images: None
    offer_thumb: Callable[[bytes, bytes], object] = lambda _digest, _jpeg: None

    @property
    def identity(self) -> str:
        """Return the model's name and weights."""
        return self.clip.identity

    async def score(
        self, embeddings: Sequence[bytes], requests: Sequence[TagRequest]
    ) -> list[tuple[tuple[TagScore, ...], int | None]]:
        """Return (tags, label version) for stored embeddings, in order."""
        return await self.clip.score_embeddings(embeddings, requests)

    async def refresh(self) -> None:
        """Take over the default labels, if they changed."""
        async with self.database.connection() as connection:
            version, _ = await labels.state(connection)
            if version == self.clip.label_version:
                return
            current = await labels.current(connection)
        teaching = Teaching(self.database, self.clip)
        while (learnt := await teaching.lessons(current.labels, current.version)) is None:
            async with self.database.connection() as connection:
                current = await labels.current(connection)
        await self.clip.use_labels(current.labels, current.version, learnt)

    async def tag_all(
        self, contents: Sequence[bytes | PermanentError | Postponed], requests: Sequence[TagRequest]
    ) -> list[Result]:
        """Return one result per image, in order."""
        requests = await self._spelled(requests)
        digests = await asyncio.to_thread(_digests, contents)
        known = await self._known(digests)
        first = _first_places(digests, known)
        fresh = await self.clip.tag_all(
            [contents[at] for at in first.values()], [requests[at] for at in first.values()]
        )
        fresh = [_hashed(one, digest) for digest, one in zip(first, fresh, strict=True)]
        results: dict[int, Result] = dict(zip(first.values(), fresh, strict=True))
        for one in fresh:
            if isinstance(one, Tagged):
                known[one.tags.sha256] = one.tags
                if one.thumb:
                    self.offer_thumb(one.tags.sha256, one.thumb)
        again = [at for at, key in digests.items() if key in known and at not in results]
        results |= await self._tag_again(again, [known[digests[at]] for at in again], requests)
        return [
            content
            if not isinstance(content, bytes)
            else _sized(results[at if at in results else first[digests[at]]], len(content))
            for at, content in enumerate(contents)
        ]

    async def _spelled(self, requests: Sequence[TagRequest]) -> list[TagRequest]:
        """Return the requests with own labels as they are spelled where they are known."""
        names = {name for request in requests for name in request.labels or ()}
        if not names:
            return list(requests)
        async with self.database.connection() as connection:
            spelling = await labels.spelled(connection, names)
        return [
            request
            if request.labels is None
            else replace(request, labels=distinct(spelling[name] for name in request.labels))
            for request in requests
        ]

    async def _tag_again(
        self, places: Sequence[int], known: Sequence[ImageTags], requests: Sequence[TagRequest]
    ) -> dict[int, Result]:
        results = await self.clip.tag_known(known, [requests[at] for at in places])
        self.reused(len(places))
        return dict(zip(places, results, strict=True))

    async def _known(self, digests: Mapping[int, bytes]) -> dict[bytes, ImageTags]:
        if not digests:
            return {}
        async with self.database.connection() as connection:
            return await embeddings.known(
                connection,
                sorted(set(digests.values())),
                model=self.clip.identity,
                preprocessing=self.clip.preprocessing,
            )


def _hashed(result: Result, digest: bytes) -> Result:
    """Return a result under the hash that we know, whatever the decoder says that it is.

    One that was taken over could name the hash of another picture, whose thumbnail would be shown.
    """
    if not isinstance(result, Tagged) or result.tags.sha256 == digest:
        return result
    return replace(result, tags=replace(result.tags, sha256=digest))


def _sized(result: Result, size_bytes: int) -> Result:
    """Return a result with the size of its file."""
    if not isinstance(result, Tagged):
        return result
    return replace(result, tags=replace(result.tags, size_bytes=size_bytes))


def _digests(contents: Sequence[bytes | PermanentError | Postponed]) -> dict[int, bytes]:
    """Return the SHA-256 by place, for images with bytes."""
    return {
        at: hashlib.sha256(content).digest()
        for at, content in enumerate(contents)
        if isinstance(content, bytes)
    }


def _first_places(digests: Mapping[int, bytes], known: Container[bytes]) -> dict[bytes, int]:
    """Return the first place of each unknown content."""
    places: dict[bytes, int] = {}
    for at, digest in digests.items():
        if digest not in known:
            places.setdefault(digest, at)
    return places
