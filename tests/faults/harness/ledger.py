"""The ledger of the crash tests: what was sent, the effects, and how often each occurred.

Triggers count the effects in a table without a unique key: a row that was written twice counts
twice, whatever keys the real tables have.
"""

import asyncio
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from core.messaging.cloudevents import encode
from core.messaging.kafka.producer import Publisher
from core.offsets import Place
from core.settings import KafkaSettings
from core.storage.stream.outbox import headers_to_json
from schemas.image import ImageArrived, image_id_of
from schemas.query import QueryOptions, QuerySubmitted
from schemas.record import Record
from schemas.token import Token
from schemas.topics import IMAGES_ARRIVED, QUERIES_SUBMITTED, Lane, plan_topics
from tests.fakes.receiver import HostileReceiver
from tests.servers import kafka_login

AUDIT = """
CREATE TABLE written (what text, id text, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION note_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO written (what, id) VALUES (CASE TG_NAME WHEN 'undone' THEN TG_NAME
        ELSE TG_TABLE_NAME END, CASE TG_TABLE_NAME
        WHEN 'tagged_images' THEN to_jsonb(NEW)->>'image_id'
        WHEN 'failures' THEN to_jsonb(NEW)->>'image_id'
        WHEN 'queries' THEN to_jsonb(NEW)->>'query_id'
        WHEN 'deliveries' THEN to_jsonb(NEW)->>'query_id'
        ELSE convert_from(decode(substr(to_jsonb(NEW)->>'key', 3), 'hex'), 'UTF8') END);
    RETURN NEW;
END $$;
CREATE TRIGGER a AFTER INSERT OR UPDATE ON tagged_images
    FOR EACH ROW EXECUTE FUNCTION note_written();
CREATE TRIGGER b AFTER INSERT OR UPDATE ON queries
    FOR EACH ROW WHEN (NEW.status = 'answered') EXECUTE FUNCTION note_written();
CREATE TRIGGER c AFTER INSERT ON deliveries FOR EACH ROW EXECUTE FUNCTION note_written();
CREATE TRIGGER d AFTER INSERT ON dead_letters FOR EACH ROW EXECUTE FUNCTION note_written();
CREATE TRIGGER e AFTER INSERT OR UPDATE ON failures
    FOR EACH ROW EXECUTE FUNCTION note_written();
CREATE TRIGGER undone AFTER UPDATE ON deliveries FOR EACH ROW
    WHEN (OLD.state = 'delivered' AND NEW.state <> 'delivered') EXECUTE FUNCTION note_written();
"""
_WRITTEN = "SELECT what, id, count(*) AS times FROM written WHERE id = ANY($1) GROUP BY what, id"
_OPEN = """
SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM parked_queries)
     + (SELECT count(*) FROM parked_images)
     + (SELECT count(*) FROM deliveries WHERE state <> 'delivered')
"""
_OPEN_ROWS = """
SELECT 'outbox' AS what, (to_jsonb(o) - 'value' - 'headers')::text AS row FROM outbox o
UNION ALL SELECT 'parked query', (to_jsonb(q) - 'event')::text FROM parked_queries q
UNION ALL SELECT 'parked image', (to_jsonb(i) - 'value' - 'event')::text FROM parked_images i
UNION ALL SELECT 'delivery', (to_jsonb(d) - 'payload' - 'body')::text FROM deliveries d
    WHERE state <> 'delivered'
"""
_LATE_LEASES = """
SELECT count(*) FROM deliveries WHERE state = 'leased' AND lease_until > now() + interval '2 s'
"""
ARRIVALS = frozenset(lane.topic.name for lane in Lane)
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of one run, by the effects that it must have exactly once.

    Attributes:
        images: ids of images that will be tagged.
        queries: ids of queries that will be answered and called back.
        bad: keys of records that will be set aside.
        failed: ids of images that will be in the failure ledger.
        late: outbox id and record of an upload that one of the queries waits for; the last of
            `images`. It may be published twice if the sweeper dies in between.
        repeated: one of the queries, which is sent twice: the first answer wins.
    """

    images: tuple[str, ...]
    queries: tuple[str, ...]
    bad: tuple[str, ...]
    failed: tuple[str, ...]
    late: tuple[int, Record]
    repeated: Record

    @property
    def expected(self) -> dict[tuple[str, str], int]:
        """Return (table, id) -> how often it must be written."""
        wanted = [("tagged_images", one) for one in self.images]
        wanted += [(table, one) for one in self.queries for table in ("queries", "deliveries")]
        wanted += [("dead_letters", one) for one in self.bad]
        wanted += [("failures", one) for one in self.failed]
        return dict.fromkeys(wanted, 1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a run.

    Attributes:
        lost: effects that did not occur, webhooks included.
        twice: effects beyond the first; webhook ids beyond the first of an answer; deliveries
            that were due again after they were delivered; repeated POSTs of a webhook that was
            recorded before a death, or that no death explains.
        events: records on topics beyond the first of their id.
        posts: requests beyond the first of a webhook id.
    """

    lost: tuple[str, ...]
    twice: tuple[str, ...]
    events: int
    posts: int


@dataclass(slots=True)
class Ledger:
    """Sends input to one archive, observes it and returns the verdict."""

    kafka: KafkaSettings
    database: asyncpg.Connection
    publisher: Publisher
    receiver: HostileReceiver
    cluster: str
    path: str = "/ok"  # of the callback URL: how the target behaves, see HostileReceiver
    said: Counter[tuple[str, str]] = field(default_factory=Counter)
    arrived: Counter[str] = field(default_factory=Counter)
    excused: set[str] = field(default_factory=set)

    async def feed(self) -> Batch:
        """Send images, slow and broken ones too, on both lanes, and queries.

        One query waits for `Batch.late`.
        """
        run = uuid.uuid4().hex
        contents = [PNG + f"{run}/{number}".encode() for number in range(5)]
        lanes = [Lane.FRESH] * 3 + [Lane.BULK] * 2
        contents.append(PNG + f"{run}/slow".encode())  # is parked
        lanes.append(Lane.FRESH)
        images = [_inline(*pair) for pair in zip(contents, lanes, strict=True)]
        slow = _inline(PNG + f"{run}/slow and bad".encode(), Lane.FRESH)  # parked, fails alone
        bad = [
            _undecodable(f"{run}-undecodable", Lane.FRESH),
            _undecodable(f"{run}-in-bulk", Lane.BULK),
            _missing(f"{run}-missing", run),
            slow,
        ]
        failed = (str(image_id_of(_nowhere(run))), _image_id(slow))
        late = _inline(PNG + f"{run}/late".encode(), Lane.FRESH)
        token = Token(self.cluster, outbox_id=await self._reserve())
        url = f"http://127.0.0.1:{self.receiver.port}{self.path}"
        asked = [_query(url, "a cat, a dog, a car, a beach") for _ in range(2)]
        asked.append(_query(url, "xyzzy"))
        waiting = _query(url, "a city, a party, food", after=token.encode())
        await self._publish([*images, *bad, *asked, waiting])
        queries = {str(record.key, "utf-8") for record in [*asked, waiting] if record.key}
        return Batch(
            tuple(_image_id(record) for record in [*images, late]),
            tuple(sorted(queries)),
            tuple(str(record.key, "utf-8") for record in bad if record.key),
            failed,
            (token.outbox_id or 0, late),
            asked[0],
        )

    async def _publish(self, records: Sequence[Record]) -> None:
        sent = await self.publisher.publish(records)
        assert all(isinstance(outcome, Place) for outcome in sent), sent

    async def _reserve(self) -> int:
        sequence = "SELECT nextval(pg_get_serial_sequence('outbox', 'id'))"
        return int(await self.database.fetchval(sequence))

    async def parked(self, batch: Batch) -> bool:
        """Return whether a query waits for the upload."""
        waiting = "SELECT count(*) FROM parked_queries WHERE outbox_id = $1"
        return bool(await self.database.fetchval(waiting, batch.late[0]))

    async def follow_up(self, batch: Batch) -> None:
        """Send one query again; leave the upload in the outbox, as a dying ingress does."""
        await self._publish([batch.repeated])
        id_, record = batch.late
        await self.database.execute(
            "INSERT INTO outbox (id, topic, key, headers, value, created_at)"
            " OVERRIDING SYSTEM VALUE"
            " VALUES ($1, $2, $3, $4::jsonb, $5, now() - interval '1 hour')",
            id_,
            record.topic,
            record.key,
            headers_to_json(record.headers),
            record.value,
        )

    async def done(self, batch: Batch, within_s: float) -> bool:
        """Wait until all effects have occurred and no work is left."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while loop.time() < deadline:
            if not await self._missing(batch) and not await self.database.fetchval(_OPEN):
                return True
            await asyncio.sleep(0.05)
        return False

    async def undone(self, batch: Batch) -> str:
        """Return in words which effects have not occurred and which rows are left open."""
        rows = await self.database.fetch(_OPEN_ROWS)
        left = [f"{row['what']}: {row['row']}" for row in rows]
        return "\n".join([f"not written: {await self._missing(batch)}", *left])

    async def _counts(self, batch: Batch) -> dict[tuple[str, str], int]:
        ids = [*batch.images, *batch.queries, *batch.bad, *batch.failed]
        rows = await self.database.fetch(_WRITTEN, ids)
        return {(row["what"], row["id"]): int(row["times"]) for row in rows}

    async def _missing(self, batch: Batch) -> list[tuple[str, str]]:
        counts = await self._counts(batch)
        return [key for key in batch.expected if key not in counts]

    def posts(self) -> Counter[tuple[str, str]]:
        """Return (query, webhook id) -> number of requests received."""
        return Counter(
            (str(json.loads(request.body)["data"]["query_id"]), request.headers["webhook-id"])
            for request in self.receiver.requests
        )

    async def witness(self) -> None:
        """At a death, note the webhooks sent but not recorded; only these may come again."""
        done = "SELECT delivery_id FROM deliveries WHERE state = 'delivered'"
        rows = await self.database.fetch(done)
        recorded = {str(row["delivery_id"]) for row in rows}
        self.excused |= {webhook for _, webhook in self.posts()} - recorded

    async def judge(self, batch: Batch, consumer: AIOKafkaConsumer) -> Verdict:
        """Compare the input with the effects; return the verdict."""
        counts = await self._counts(batch)
        posts = {key: times for key, times in self.posts().items() if key[0] in batch.queries}
        called = Counter(query for query, _ in posts)
        before = sum(self.said.values()) - len(self.said)
        await self._listen(consumer)
        again = sum(self.said.values()) - len(self.said)
        most = batch.expected  # one effect per record
        most["tagged_images", batch.images[-1]] = self.arrived[event_id_of(batch.late[1])]
        lost = [f"{what} {id_}" for what, id_ in batch.expected if (what, id_) not in counts]
        lost += [f"webhook {query}" for query in batch.queries if query not in called]
        twice = [
            f"{what} {id_}"
            for (what, id_), times in counts.items()
            if times > most.get((what, id_), 0)
        ]
        twice += [f"webhook {query}" for query, ids in called.items() if ids > 1]
        again_sent = {webhook for (_, webhook), times in posts.items() if times > 1}
        twice += [f"POST {webhook}" for webhook in again_sent - self.excused]
        self.receiver.requests.clear()
        self.excused.clear()
        return Verdict(tuple(lost), tuple(twice), again - before, sum(posts.values()) - len(posts))

    async def _listen(self, consumer: AIOKafkaConsumer) -> None:
        """Read the topics of arrivals and those that the roles write to, up to their ends."""
        partitions = list(consumer.assignment())
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            for partition, records in (await consumer.getmany(timeout_ms=200)).items():
                for record in records:
                    event_id = dict(record.headers)["ce_id"].decode()
                    if partition.topic.removeprefix(self.kafka.topic_prefix) in ARRIVALS:
                        self.arrived[event_id] += 1
                    else:
                        self.said[partition.topic, event_id] += 1

    async def at_the_end(self, consumer: AIOKafkaConsumer) -> bool:
        """Return whether each group's progress is at its log's end and no lease is too long."""
        rows = await self.database.fetch("SELECT topic, part, next_offset FROM progress")
        places = {
            TopicPartition(self.kafka.topic_prefix + row["topic"], row["part"]): row["next_offset"]
            for row in rows
        }
        ends = await consumer.end_offsets(list(places))
        late = await self.database.fetchval(_LATE_LEASES)
        return bool(places) and places == ends and not late


def listener(kafka: KafkaSettings) -> AIOKafkaConsumer:
    """Return a consumer without a group that reads all that the roles write; not started."""
    return AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers,
        **kafka_login(kafka),
        auto_offset_reset="earliest",
    )


def spoken(kafka: KafkaSettings) -> list[TopicPartition]:
    """Return the partitions of arrivals and of the topics that the roles write to."""
    return [
        TopicPartition(kafka.topic_prefix + plan.name, number)
        for plan in plan_topics()
        if plan.name != QUERIES_SUBMITTED.name
        for number in range(plan.partitions)
    ]


def event_id_of(record: Record) -> str:
    """Return its `ce_id`."""
    return dict(record.headers)["ce_id"].decode()


def _inline(content: bytes, lane: Lane) -> Record:
    key = uuid.uuid4().hex.encode()
    headers = (("content-type", b"image/png"), ("ce_id", key), ("path", b"photo.png"))
    return Record(lane.topic.name, key, headers, content)


def _image_id(record: Record) -> str:
    return str(image_id_of(f"blob:{hashlib.sha256(record.value).hexdigest()}"))


def _undecodable(key: str, lane: Lane) -> Record:
    return Record(lane.topic.name, key.encode(), (("ce_id", key.encode()),), b"{")


def _nowhere(run: str) -> str:
    return f"blob:{run}{run}"


def _missing(key: str, run: str) -> Record:
    return encode(
        IMAGES_ARRIVED,
        ImageArrived(uri=_nowhere(run)),
        key=key,
        event_id=key,
        source="/tests",
        now=datetime.now(UTC),
    )


def _query(url: str, text: str, after: str | None = None) -> Record:
    query_id = uuid.uuid4()
    event = QuerySubmitted(
        query_id=query_id, text=text, callback_url=url, options=QueryOptions(after=after)
    )
    return encode(
        QUERIES_SUBMITTED,
        event,
        key=str(query_id),
        event_id=str(query_id),
        source="/tests",
        now=datetime.now(UTC),
    )
