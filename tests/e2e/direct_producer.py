"""A foreign producer: it uses the topic and the documented record format, but none of our code.

python direct_producer.py BOOTSTRAP FILE: publishes the records in FILE, a JSON list of
`{"key": …, "headers": {…}, "value": base64}`.
"""

import asyncio
import base64
import json
import os
import sys
from pathlib import Path

from aiokafka import AIOKafkaProducer


async def main(bootstrap: str, file: str) -> None:
    """Publish all records; wait until all replicas have acknowledged each."""
    records = json.loads(Path(file).read_text())
    login = {
        "security_protocol": os.environ["KAFKA_SECURITY_PROTOCOL"],
        "sasl_mechanism": os.environ["KAFKA_SASL_MECHANISM"],
        "sasl_plain_username": os.environ["KAFKA_SASL_USERNAME"],
        "sasl_plain_password": os.environ["KAFKA_SASL_PASSWORD"],
    }
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", **login) as producer:
        for record in records:
            headers = [(name, text.encode()) for name, text in record["headers"].items()]
            value = base64.b64decode(record["value"])
            key = record["key"].encode()
            await producer.send_and_wait("images.arrived.v1", value, key=key, headers=headers)


asyncio.run(main(*sys.argv[1:]))
