import asyncio
import json
import sys

from aiokafka import AIOKafkaProducer


async def main(broker: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker, acks="all") as kafka:
        photo = {"uri": "https://photos.example/cat.jpg", "labels": ["cat", "dog"], "top_k": 2}
        value, key = json.dumps(photo).encode(), b"https://photos.example/cat.jpg"
        await kafka.send_and_wait("images.arrived.v1", value, key=key)


asyncio.run(main(*sys.argv[1:]))
