import asyncio
import json
import sys

from aiokafka import AIOKafkaProducer
from login import LOGIN


async def main(broker: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker, acks="all", **LOGIN) as kafka:
        photo = {"uri": "https://photos.example/cat.jpg", "labels": ["cat", "dog"], "top_k": 2}
        await kafka.send_and_wait("images.arrived.v1", json.dumps(photo).encode(), key=b"cat.jpg")


asyncio.run(main(*sys.argv[1:]))
