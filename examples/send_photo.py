import asyncio
import sys
from pathlib import Path

from aiokafka import AIOKafkaProducer
from login import LOGIN


async def main(broker: str, photo: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker, acks="all", **LOGIN) as kafka:
        headers = [("content-type", b"image/jpeg"), ("path", b"phone/0001.jpg"), ("top_k", b"3")]
        await kafka.send_and_wait("images.arrived.v1", photo, headers=headers)


asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes()))
