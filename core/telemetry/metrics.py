"""Every Prometheus metric of the project: name, meaning and unit in one place.

A `Metrics` is built once, in a `main.py`, and handed to whoever counts. Labels have few values:
roles, topics, partitions, stable reasons; never ids, hosts or texts (hosts: top-k only).
"""

import asyncio

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from core.telemetry.vitals import Signs

_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one process.

    Args:
        registry: where they are registered; a fresh one per test.

    Attributes:
        signs: what its parts say of themselves.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        # `_created` series double what is scraped and nothing reads them. Holds for the process.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry
        self.signs = Signs()
        self._consumer_work()
        self._consumer_trouble()
        self._consumer_standing()
        self._outbox()
        self._images()
        self._model()
        self._queries()
        self._delivery()
        self._standing()
        self._servers()
        self._ingress()
        self.event_loop_tasks = self._gauge(
            "event_loop_tasks", "Tasks of the event loop; what grows for ever has leaked"
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"photo_archive_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"photo_archive_{name}", meaning, labels, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"photo_archive_{name}", meaning, labels, buckets=buckets, registry=self.registry
        )

    def _consumer_work(self) -> None:
        self.consumer_seconds = self._counter(
            "consumer_seconds_total",
            "Seconds that each task of the loop spent in each stage; a task's stages add up to "
            "wall time",
            "group",
            "task",
            "stage",
        )
        self.consumer_records = self._counter(
            "consumer_records_total",
            "Records whose transaction committed, by outcome (done, dead_letter)",
            "group",
            "outcome",
        )
        self.consumer_batch_records = self._histogram(
            "consumer_batch_records", "Records per batch", _COUNTS, "group"
        )
        self.consumer_transaction_seconds = self._histogram(
            "consumer_transaction_seconds", "Seconds per batch transaction", _FAST_S, "group"
        )

    def _consumer_trouble(self) -> None:
        self.consumer_retries = self._counter(
            "consumer_retries_total",
            "Tries repeated because something outside was away, by stage",
            "group",
            "stage",
        )
        self.consumer_recoveries = self._counter(
            "consumer_recoveries_total",
            "Times that all work in flight was dropped and partitions were claimed again",
            "group",
            "reason",
        )
        self.consumer_fenced = self._counter(
            "consumer_fenced_total",
            "Partition parts of batches that the guard rejected: another owner has them",
            "group",
        )
        self.consumer_refetched = self._counter(
            "consumer_refetched_total",
            "Fetched records dropped and asked for again, by cause",
            "group",
            "cause",
        )
        self.consumer_gaps = self._counter(
            "consumer_offset_gaps_total",
            "Offsets passed that have no record for us: markers of transactions, records that were "
            "taken back, compacted ones",
            "group",
        )
        self.consumer_tombstones = self._counter(
            "consumer_tombstones_total", "Records without a value, which were passed", "group"
        )
        self.consumer_dead_letters = self._counter(
            "consumer_dead_letters_total", "Records set aside, by stable reason", "group", "reason"
        )

    def _consumer_standing(self) -> None:
        self.consumer_lag = self._gauge(
            "consumer_lag_records",
            "Records between progress and the log's end, or the first open transaction",
            "group",
            "topic",
            "partition",
        )
        self.consumer_age = self._gauge(
            "consumer_age_seconds",
            "How long the oldest record that is not finished has waited; 0 where none waits",
            "group",
        )
        self.consumer_held = self._gauge(
            "consumer_open_transaction_seconds",
            "How long an open transaction of some producer has held back what lies behind it",
            "group",
            "topic",
            "partition",
        )
        self.consumer_partitions = self._gauge(
            "consumer_partitions",
            "Partitions held, by state (ready, claiming, halted)",
            "group",
            "state",
        )
        self.consumer_halted = self._gauge(
            "consumer_partition_halted",
            "1 while a partition stands still until someone acts, by reason",
            "group",
            "topic",
            "partition",
            "reason",
        )
        self.consumer_isolated = self._gauge(
            "consumer_isolated", "1 while records are taken one by one after crashes", "group"
        )
        self.consumer_paused = self._gauge(
            "consumer_paused", "1 while nothing is fetched because the queue is full", "group"
        )
        self.consumer_queue_records = self._gauge(
            "consumer_queue_records", "Records fetched and not yet taken into a batch", "group"
        )

    def _outbox(self) -> None:
        self.published = self._counter(
            "published_records_total",
            "Records sent, by topic and outcome (ok, transient, refused)",
            "topic",
            "outcome",
        )
        self.publish_seconds = self._histogram(
            "publish_seconds", "Seconds until the broker acknowledged a call's records", _FAST_S
        )
        self.producer_restarts = self._counter(
            "producer_restarts_total", "Producers thrown away because they could send no more"
        )
        self.outbox_rows = self._gauge("outbox_rows", "Estimated rows that wait in the outbox")
        self.outbox_swept = self._counter(
            "outbox_swept_total", "Rows published by the sweeper rather than at once"
        )
        self.outbox_quarantined = self._counter(
            "outbox_quarantined_total", "Rows that Kafka refused for good"
        )

        self.prune_failures = self._counter(
            "prune_failures_total", "Rounds of the pruner that failed, by table", "table"
        )

    def _images(self) -> None:
        self.images = self._counter(
            "images_total",
            "Arrivals handled by tagging, by lane (fresh, bulk) and outcome (tagged, failed, "
            "parked: set aside as slow, and handled again later, skipped: a later one or a "
            "deletion overtook it)",
            "lane",
            "outcome",
        )
        self.image_failures = self._counter(
            "image_failures_total", "Images that could not be tagged, by stable reason", "reason"
        )
        self.images_parked = self._gauge(
            "images_parked",
            "Images that wait to be tagged apart from others, by reason (slow_picture, "
            "large_picture, slow_source)",
            "reason",
        )
        self.images_parked_oldest = self._gauge(
            "images_parked_oldest_seconds", "How long the oldest parked image has waited", "reason"
        )
        self.thumbs = self._counter(
            "thumbs_total",
            "Thumbnails, by where they were made (tagging, request) and outcome (kept; dropped: "
            "too many waited for the store; not_kept: the store did not take them; none: the "
            "picture gives none on request)",
            "made",
            "outcome",
        )

    def _model(self) -> None:
        self.tagging_seconds = self._counter(
            "tagging_seconds_total",
            "Seconds that batches waited for each stage (fetch, decode, model, score)",
            "stage",
        )
        self.model_batch_images = self._histogram(
            "model_batch_images", "Images per model call", _COUNTS
        )
        self.model_halvings = self._counter(
            "model_batch_halvings_total", "Batches halved because memory ran out"
        )
        self.rescored_images = self._counter(
            "rescored_images_total", "Images scored again after a label change"
        )
        self.reused_images = self._counter(
            "reused_embeddings_total",
            "Images tagged without decoder and model: the same bytes had been encoded before",
        )

    def _queries(self) -> None:
        self.queries = self._counter(
            "queries_total", "Queries answered, by outcome (completed, no_match, failed)", "outcome"
        )
        self.query_lookups = self._counter(
            "query_lookups_total",
            "Queries looked up in the archive, by source (table: the table of best images; images: "
            "all images, as top_n, dates or many labels need; images_gap: all images, because the "
            "table was being filled or repaired)",
            "source",
        )
        self.queries_parked = self._gauge(
            "queries_parked", "Queries that wait for an upload to be tagged"
        )
        self.query_seconds = self._histogram(
            "query_seconds",
            "Seconds from a query's acceptance to its answer; a direct producer's has waited 0",
            _SLOW_S,
        )

    def _delivery(self) -> None:
        self.delivery_attempts = self._counter(
            "delivery_attempts_total", "Webhook attempts, by outcome class", "outcome"
        )
        self.delivery_seconds = self._histogram(
            "delivery_attempt_seconds", "Seconds per webhook attempt", _SLOW_S
        )
        self.delivery_in_flight = self._gauge("delivery_in_flight", "Webhook attempts under way")
        self.delivery_due = self._gauge(
            "delivery_due",
            "Deliveries that are due and not leased, but for those of disabled targets",
        )
        self.delivery_oldest_due = self._gauge(
            "delivery_oldest_due_seconds",
            "How long the longest waiting due delivery has waited, but for those of disabled "
            "targets",
        )
        self.delivery_breakers_open = self._gauge(
            "delivery_breakers_open", "Callback targets that are not tried for now"
        )
        self.delivery_breaker_oldest = self._gauge(
            "delivery_breaker_oldest_seconds",
            "How long the callback target that has failed longest has given no good answer since "
            "its breaker opened; 0 where none is so",
        )
        self.delivery_target_failures = self._gauge(
            "delivery_target_failures",
            "Failed attempts in a row of the ten worst targets",
            "target",
        )

    def _standing(self) -> None:
        self.role_status = self._gauge(
            "role_status",
            "1 for the status that a role is in, 0 for all others (ok, idle, behind, not_moving, "
            "halted, silent): what /health says of it, by each ingress",
            "role",
            "status",
        )
        self.stage_oldest = self._gauge(
            "stage_oldest_seconds",
            "How long the oldest piece of work of a stage has waited; 0 where none waits",
            "stage",
        )
        self.stage_waiting = self._gauge(
            "stage_waiting", "Pieces of work that wait in a stage, as far as it is known", "stage"
        )
        self.pipeline_seen = self._gauge(
            "pipeline_seen_timestamp_seconds",
            "When an ingress last looked at roles and stages: each 5 s while PostgreSQL answers",
        )

    def _servers(self) -> None:
        # With labels, so that processes that do not look show none rather than 0.
        self.kafka_brokers = self._gauge(
            "kafka_brokers",
            "Brokers by state, as an ingress sees it (there: 0 where none answers; missing: they "
            "hold copies of arrivals and are away, while another one answers)",
            "state",
        )
        self.postgres_standby = self._gauge(
            "postgres_standby",
            "1 while it is so, by state (follows: a standby follows the primary; waited_for: "
            "commits wait for one); none where the address names one host and none was seen",
            "state",
        )

    def _ingress(self) -> None:
        self.http_requests = self._counter(
            "http_requests_total", "HTTP requests, by route and status", "route", "status"
        )
        self.http_seconds = self._histogram(
            "http_request_seconds", "Seconds per HTTP request", _SLOW_S, "route"
        )
        self.http_bytes_in_flight = self._gauge(
            "http_bytes_in_flight", "Bytes of request bodies held in memory"
        )
        self.announced = self._counter(
            "announced_total", "Events announced by this process, by topic", "topic"
        )


def watch_process(metrics: Metrics) -> None:
    """Add metrics of the process: memory, file descriptors, CPU, tasks. Needs a running loop."""
    loop = asyncio.get_running_loop()
    ProcessCollector(registry=metrics.registry)
    metrics.event_loop_tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
