"""Other consumer libraries doing the work of the bare loop, each used as its documentation shows.

They are not dependencies of the project: `benchmarks.runtime --peers FOLDER` imports them from
FOLDER after `pip install --target FOLDER "faststream[kafka]" sentry-arroyo`. Both repeat records
after a crash, as the bare loop does.
"""

import asyncio
import secrets
from collections.abc import Callable
from importlib import import_module
from typing import Any

import asyncpg

from benchmarks.harness.loops.contenders import (
    BATCH,
    COMMIT_INTERVAL_S,
    FETCH_BYTES,
    FETCH_WAIT_MS,
    INSERT,
    Clock,
    Job,
)
from core.settings import KafkaSettings

#: Time for which a batch that is not full waits. On a filled topic only the last one is not full.
BATCH_WAIT_S, TIMED_BATCH_WAIT_S = 0.2, 0.005


async def faststream(job: Job) -> None:
    """Run a FastStream batch subscriber that commits offsets once a second, as the others do."""
    library, clock, seen = import_module("faststream.kafka"), Clock(job), 0
    connection = await asyncpg.connect(job.database.url.get_secret_value())
    done = asyncio.Event()

    async def handle(bodies: list[bytes], message: Any) -> None:
        nonlocal seen
        clock.handed(bodies)
        if job.writes:
            records = message.raw_message
            await connection.execute(
                INSERT,
                [record.partition for record in records],
                [record.offset for record in records],
                [record.key for record in records],
                [record.value for record in records],
            )
        seen += len(bodies)
        if seen >= job.events:
            done.set()

    handle.__annotations__["message"] = library.KafkaMessage  # FastStream injects by annotation
    broker = library.KafkaBroker(
        job.kafka.bootstrap_servers, logger=None, security=_faststream_login(job.kafka)
    )  # no line per batch
    broker.subscriber(
        job.topic,
        batch=True,
        max_records=BATCH,
        batch_timeout_ms=round(BATCH_WAIT_S * 1000),
        group_id=f"faststream-{secrets.token_hex(4)}",
        auto_offset_reset="earliest",
        ack_policy=import_module("faststream").AckPolicy.ACK_FIRST,
        auto_commit_interval_ms=round(COMMIT_INTERVAL_S * 1000),
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=FETCH_BYTES,
    )(handle)
    async with broker:
        await broker.start()
        await done.wait()
        clock.tell()
    await connection.close()


def _faststream_login(kafka: KafkaSettings) -> Any:
    security = import_module("faststream.security")
    password = kafka.sasl_password.get_secret_value()
    return security.SASLScram256(username=kafka.sasl_username, password=password, use_ssl=False)


async def arroyo(job: Job) -> None:
    """Run an arroyo batch step in a thread, since its loop is synchronous (on librdkafka)."""
    connection = await asyncpg.connect(job.database.url.get_secret_value())
    loop = asyncio.get_running_loop()

    def write(columns: tuple[list[Any], ...]) -> None:
        insert = connection.execute(INSERT, *columns)
        asyncio.run_coroutine_threadsafe(insert, loop).result()

    await asyncio.to_thread(_run_arroyo, job, write)
    await connection.close()


def _run_arroyo(job: Job, write: Callable[[tuple[list[Any], ...]], None]) -> None:
    processing = import_module("arroyo.processing")
    strategies = import_module("arroyo.processing.strategies")
    clock, seen = Clock(job), 0

    def handle(message: Any) -> None:
        nonlocal seen
        values = message.payload
        clock.handed(value.payload.value for value in values)
        if job.writes:
            write(
                (
                    [value.partition.index for value in values],
                    [value.offset for value in values],
                    [value.payload.key for value in values],
                    [value.payload.value for value in values],
                )
            )
        seen += len(values)
        if seen >= job.events:
            clock.tell()
            processor.signal_shutdown()

    class Factory(strategies.ProcessingStrategyFactory):  # type: ignore[name-defined]  # loaded at run time
        def create_with_partitions(self, commit: Any, partitions: Any) -> Any:
            del partitions
            done = strategies.CommitOffsets(commit)
            wait_s = TIMED_BATCH_WAIT_S if job.timed else BATCH_WAIT_S
            return strategies.BatchStep(BATCH, wait_s, strategies.RunTask(handle, done))

    processor = processing.StreamProcessor(
        _arroyo_consumer(job.kafka),
        import_module("arroyo.types").Topic(job.topic),
        Factory(),
        import_module("arroyo.commit").ONCE_PER_SECOND,
    )
    processor.run()


def _arroyo_consumer(kafka: KafkaSettings) -> Any:
    backend = import_module("arroyo.backends.kafka")
    settings = backend.configuration.build_kafka_consumer_configuration(
        {},
        group_id=f"arroyo-{secrets.token_hex(4)}",
        auto_offset_reset="earliest",
        bootstrap_servers=[kafka.bootstrap_servers],
        override_params={
            "security.protocol": kafka.security_protocol,
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.sasl_username,
            "sasl.password": kafka.sasl_password.get_secret_value(),
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            "max.partition.fetch.bytes": FETCH_BYTES,
        },
        enable_auto_commit=False,
    )
    return backend.KafkaConsumer(settings)
