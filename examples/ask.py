import asyncio
import json
import sys

from aiokafka import AIOKafkaProducer
from login import LOGIN


async def main(broker: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker, acks="all", **LOGIN) as kafka:
        query = {"text": "a dog on the beach", "callback_url": "https://me.example/hook"}
        await kafka.send_and_wait("queries.submitted.v1", json.dumps(query).encode())


asyncio.run(main(*sys.argv[1:]))
