import asyncio
import json
import sys

from aiokafka import AIOKafkaConsumer
from login import LOGIN


async def main(broker: str) -> None:
    options = {"group_id": "listener", "auto_offset_reset": "earliest", **LOGIN}
    tagged = AIOKafkaConsumer("images.tagged.v1", bootstrap_servers=broker, **options)
    seen = set()  # an event may come twice, under one id
    async with tagged:
        async for record in tagged:
            event_id = dict(record.headers)["ce_id"]
            if event_id not in seen:
                seen.add(event_id)
                image = json.loads(record.value)
                print(image["path"], [tag["tag"] for tag in image["tags"]], flush=True)


asyncio.run(main(*sys.argv[1:]))
