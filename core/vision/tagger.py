"""Bytes to tags: decoding, the model and scoring joined, each busy while the others are.

Two promises hold whatever fails: results come in the order of the images, and one bad image costs
one image.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigurationError, PermanentError
from core.tags import ImageTags, Label, Lesson, Postponed, Tagged, TagRequest, TagScore
from core.vision import scoring
from core.vision.decoding.pool.answers import Decoded
from core.vision.giving_way import Turn, YieldingDecoder, YieldingModel
from core.vision.label_side import NO_LESSONS, LabelSide
from core.vision.ports import Decoder, ImageModel
from core.vision.prefetch import Outcome, decoded_batches

# Rows scored at once from the archive: 4096 x 1000 labels in float64 are 32 MiB.
_ROWS_PER_TURN = 4096
_SCORES_PER_TURN = _ROWS_PER_TURN * 1000


@dataclass(frozen=True, slots=True)
class TaggerOptions:
    """The options of tagging.

    Attributes:
        scoring: `softmax`, `sigmoid` or `threshold`; see `scoring.score`.
        top_k: tags per image whose request names no number.
        batch_max_images: most pictures in one call of the model.
        batch_max_pixels: most source pixels behind one call of the model.
        preprocessing: version of the pixels, see `opening.PREPROCESSING_VERSIONS`.
        templates: prompts for labels without their own.
        background: prompts that `threshold` compares with.
        least: see `scoring.Scale`.
    """

    scoring: scoring.Scoring
    top_k: int
    batch_max_images: int
    batch_max_pixels: int
    preprocessing: str
    templates: tuple[str, ...]
    background: tuple[str, ...]
    least: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EncodedLabels:
    """The default labels at one version, ready to score with."""

    version: int
    labels: tuple[Label, ...]
    lessons: Mapping[str, Lesson]
    text: scoring.TextSide


Result = Tagged | PermanentError | Postponed
Observe = Callable[[str, int, float], None]


class ClipTagger:
    """Tags images with a decoder and a model; it has no side effects.

    Args:
        decoder: gives pixels in the form that the model takes.
        model: gives vectors.
        options: how to tag.
        observe: is called with (stage, images, seconds): "decoded" for each picture, which overlap;
            and for each batch "decode" (the wait for its pictures), "model" and "score", which
            follow each other.
    """

    def __init__(
        self,
        decoder: Decoder,
        model: ImageModel,
        options: TaggerOptions,
        observe: Observe = lambda _stage, _images, _seconds: None,
    ) -> None:
        if options.scoring == "sigmoid" and model.logit_bias is None:
            raise ConfigurationError(
                f"TAGGING_SCORING=sigmoid: {model.identity} has no bias; only SigLIP models "
                "give independent probabilities (for CLIP use threshold)"
            )
        self._decoder = decoder
        self._model = model
        self._options = options
        self._observe = observe
        self._labels = LabelSide(model, options.templates, options.background)
        self._scale = scoring.Scale(model.logit_scale, model.logit_bias or 0.0, options.least)
        self._defaults: EncodedLabels | None = None

    @property
    def identity(self) -> str:
        """Return the model's name and weights, as it stands beside embeddings and tags."""
        return self._model.identity

    @property
    def preprocessing(self) -> str:
        """Return the version of the pixels that the model is given."""
        return self._options.preprocessing

    @property
    def label_version(self) -> int | None:
        """Return the version of the default labels in force; None before `use_labels`."""
        return None if self._defaults is None else self._defaults.version

    def giving_way(self, turn: Turn, decoders: int) -> "ClipTagger":
        """Return a tagger with the same decoder and model, each of whose steps awaits `turn`.

        Args:
            turn: returns when a step may begin.
            decoders: pictures that the decoder can work on at a time.
        """
        return ClipTagger(
            YieldingDecoder(self._decoder, turn, decoders),
            YieldingModel(self._model, turn),
            self._options,
            self._observe,
        )

    async def use_labels(
        self, labels: Sequence[Label], version: int, lessons: Mapping[str, Lesson] = NO_LESSONS
    ) -> None:
        """Replace the default labels in one step; work in progress keeps the old ones.

        Args:
            labels: in their order.
            version: theirs.
            lessons: what photos have taught of them, by name.

        Raises:
            ConfigurationError: no labels.
        """
        if not labels:
            raise ConfigurationError(f"label set {version} is empty: nothing can be tagged")
        text = await self._labels.encode(labels, lessons)
        self._defaults = EncodedLabels(version, tuple(labels), lessons, text)

    async def learn(
        self,
        labels: Sequence[Label],
        photos: Mapping[str, Sequence[bytes]],
        ground: Mapping[str, Sequence[bytes]],
    ) -> dict[str, Lesson]:
        """Return what photos teach of labels, by name; see `LabelSide.learn`."""
        return await self._labels.learn(labels, photos, ground)

    async def tag_all(
        self, images: Sequence[bytes | PermanentError | Postponed], requests: Sequence[TagRequest]
    ) -> list[Result]:
        """Return one result per image, in order; what is no bytes is returned as it is given.

        Raises:
            TransientError: the model or the decoders are out of memory.
        """
        defaults = self._in_force()
        results: dict[int, Result] = {
            at: each for at, each in enumerate(images) if not isinstance(each, bytes)
        }
        todo = [(at, each) for at, each in enumerate(images) if isinstance(each, bytes)]
        batches = decoded_batches(
            self._decode,
            todo,
            max_images=self._options.batch_max_images,
            max_pixels=self._options.batch_max_pixels,
        )
        async with aclosing(batches):
            began = perf_counter()
            async for outcomes in batches:
                self._observe("decode", len(outcomes), perf_counter() - began)
                results |= await self._tag(outcomes, requests, defaults)
                began = perf_counter()
        return [results[at] for at in range(len(images))]

    async def score_embeddings(
        self, embeddings: Sequence[bytes], requests: Sequence[TagRequest]
    ) -> list[tuple[tuple[TagScore, ...], int | None]]:
        """Return (tags, label version) for embeddings that are stored, without reading any image.

        The same tags as the image got or would get from `tag_all` under the same labels.

        Raises:
            ValueError: embeddings of different dimensions.
        """
        defaults = self._in_force()
        done: list[tuple[tuple[TagScore, ...], int | None]] = []
        for at in range(0, len(embeddings), _ROWS_PER_TURN):
            rows = scoring.restore(embeddings[at : at + _ROWS_PER_TURN])
            plans = await self._score_rows(rows, requests[at : at + _ROWS_PER_TURN], defaults)
            done += [(plan.tags, plan.label_version) for plan in plans]
        return done

    async def score_under(
        self,
        labels: Sequence[Label],
        embeddings: Sequence[bytes],
        top_k: Sequence[int],
        lessons: Mapping[str, Lesson] = NO_LESSONS,
    ) -> list[tuple[TagScore, ...]]:
        """Return the tags that stored embeddings would get, were these the default labels.

        Args:
            labels: at least one; what is in force stays in force.
            embeddings: of this model.
            top_k: per embedding.
            lessons: what photos have taught of the labels, by name.
        """
        text = await self._labels.encode(labels, lessons)
        turn = max(1, min(_ROWS_PER_TURN, _SCORES_PER_TURN // len(labels)))
        done: list[tuple[TagScore, ...]] = []
        for at in range(0, len(embeddings), turn):
            rows = scoring.restore(embeddings[at : at + turn])
            done += await asyncio.to_thread(self._rank, rows, text, top_k[at : at + turn])
        return done

    async def scorer_under(
        self, labels: Sequence[Label], lessons: Mapping[str, Lesson]
    ) -> Callable[[NDArray[np.float16]], scoring.Matrix]:
        """Return what gives confidences, (n, labels), were these the default labels.

        It takes embeddings of this model, (n, dim), and blocks: call it on a thread, in portions.
        """
        text = await self._labels.encode(labels, lessons)
        return lambda rows: scoring.score(rows, text, self._scale, self._options.scoring)

    async def tag_known(
        self, known: Sequence[ImageTags], requests: Sequence[TagRequest]
    ) -> list[Tagged]:
        """Return the tags of pictures that this model has encoded before; no picture is read.

        Args:
            known: what was found out then; its tags do not count.
            requests: one per picture.
        """
        if not known:
            return []
        rows = scoring.restore([one.embedding for one in known])
        plans = await self._score_rows(rows, requests, self._in_force())
        return [
            Tagged(replace(one, tags=plan.tags), plan.label_version, plan.top_k)
            for one, plan in zip(known, plans, strict=True)
        ]

    def _in_force(self) -> EncodedLabels:
        if self._defaults is None:
            raise ConfigurationError("no labels are in force: call use_labels first")
        return self._defaults

    async def _tag(
        self, outcomes: Sequence[Outcome], requests: Sequence[TagRequest], defaults: EncodedLabels
    ) -> dict[int, Result]:
        """Return the results of one batch, by the images' places."""
        results: dict[int, Result] = {
            at: each for at, each in outcomes if not isinstance(each, Decoded)
        }
        batch = [(at, each) for at, each in outcomes if isinstance(each, Decoded)]
        if batch:
            rows = await self._embed([decoded for _, decoded in batch])
            began = perf_counter()
            plans = await self._score_rows(rows, [requests[at] for at, _ in batch], defaults)
            self._observe("score", len(batch), perf_counter() - began)
            for (at, decoded), row, plan in zip(batch, rows, plans, strict=True):
                results[at] = self._result(decoded, row, plan)
        return results

    async def _decode(self, content: bytes) -> Decoded | PermanentError | Postponed:
        began = perf_counter()
        decoded = await self._decoder.decode(content)
        self._observe("decoded", 1, perf_counter() - began)
        return decoded

    async def _embed(self, decoded: Sequence[Decoded]) -> NDArray[np.float16]:
        began = perf_counter()
        rows = await self._model.encode(np.stack([each.pixels for each in decoded]))
        self._observe("model", len(decoded), perf_counter() - began)
        return scoring.quantise(rows)

    async def _score_rows(
        self, rows: NDArray[np.float16], requests: Sequence[TagRequest], defaults: EncodedLabels
    ) -> list["_Ranked"]:
        """Score rows under their own label sets; rows that share a set are scored together."""
        groups: dict[tuple[str, ...] | None, list[int]] = {}
        for at, request in enumerate(requests):
            groups.setdefault(request.labels or None, []).append(at)
        plans: dict[int, _Ranked] = {}
        for names, places in groups.items():
            text = defaults.text if names is None else await self._own_labels(names, defaults)
            top_k = [requests[at].top_k or self._options.top_k for at in places]
            ranked = await asyncio.to_thread(self._rank, rows[places], text, top_k)
            for at, wanted, tags in zip(places, top_k, ranked, strict=True):
                if names is None:  # the set may grow: as many as asked for, when scored again
                    plans[at] = _Ranked(tags, defaults.version, wanted)
                else:
                    plans[at] = _Ranked(tags, None, min(wanted, len(text.names)))
        return [plans[at] for at in range(len(requests))]

    def _rank(
        self, rows: NDArray[np.float16], text: scoring.TextSide, top_k: Sequence[int]
    ) -> list[tuple[TagScore, ...]]:
        scores = scoring.score(rows, text, self._scale, self._options.scoring)
        return scoring.rank(scores, text.names, top_k)

    async def _own_labels(
        self, names: tuple[str, ...], defaults: EncodedLabels
    ) -> scoring.TextSide:
        """Return the text side of an image's own labels; a default label is what it is."""
        known = {label.name: label for label in defaults.labels}
        labels = [known.get(name, Label(name)) for name in dict.fromkeys(names)]
        return await self._labels.encode(labels, defaults.lessons)

    def _result(self, decoded: Decoded, row: NDArray[np.float16], plan: "_Ranked") -> Tagged:
        tags = ImageTags(
            tags=plan.tags,
            sha256=decoded.sha256,
            width=decoded.width,
            height=decoded.height,
            model=self._model.identity,
            preprocessing=self._options.preprocessing,
            embedding=row.tobytes(),
            exif_datetime=decoded.exif_datetime,
            camera=decoded.camera,
            perceptual_hash=decoded.perceptual_hash,
            media_type=decoded.media_type,
            exif_source=decoded.exif_source,
            truncated=decoded.truncated,
            colour=decoded.colour,
            text_lines=decoded.text_lines,
        )
        return Tagged(tags, plan.label_version, plan.top_k, decoded.thumb)


@dataclass(frozen=True, slots=True)
class _Ranked:
    tags: tuple[TagScore, ...]
    label_version: int | None
    top_k: int
