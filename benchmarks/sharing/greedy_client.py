"""A client that takes what it gets: python -m benchmarks.sharing.greedy_client URL COUNT KEY PATH.

With a key it keeps so many requests of a path open and sends each again when it ends; refused, it
waits as long as it is told. With an empty key it keeps so many connections open that send nothing.
It prints a line when those that are refused have been told, and runs until it is killed.
"""

import asyncio
import sys

import aiohttp

MOST_SHARE, MOST_S = 0.8, 20.0
RETRY_S = 1.0  # where the connection ended without an answer


async def ask(http: aiohttp.ClientSession, path: str, statuses: dict[int, int]) -> None:
    """Ask once, and wait where the answer says so."""
    try:
        async with http.get(path) as response:
            await response.read()
            statuses[response.status] = statuses.get(response.status, 0) + 1
            if "Retry-After" in response.headers and response.status != 200:
                await asyncio.sleep(float(response.headers["Retry-After"]))
    except aiohttp.ClientError:
        await asyncio.sleep(RETRY_S)


async def wait_for_ever(http: aiohttp.ClientSession, path: str, statuses: dict[int, int]) -> None:
    """Ask again and again."""
    while True:
        await ask(http, path, statuses)


async def until_told(count: int, statuses: dict[int, int]) -> None:
    """Return when most have an answer, or none comes any more."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + MOST_S
    while sum(statuses.values()) < count * MOST_SHARE and loop.time() < ends_at:
        await asyncio.sleep(0.1)
    await asyncio.sleep(RETRY_S)


async def say_nothing(host: str, port: int) -> None:
    """Keep a connection open; open another one when it is closed."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            await reader.read()
            writer.close()
        except OSError:
            pass
        await asyncio.sleep(RETRY_S)


async def main(url: str, count: int, key: str, path: str) -> None:
    """Hold so many connections."""
    host, _, port = url.removeprefix("http://").partition(":")
    statuses: dict[int, int] = {}
    async with aiohttp.ClientSession(
        url,
        headers={"X-API-Key": key},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
    ) as http:
        tasks = [
            asyncio.create_task(
                wait_for_ever(http, path, statuses) if key else say_nothing(host, int(port))
            )
            for _ in range(count)
        ]
        await until_told(count if key else 0, statuses)
        print("under way", flush=True)
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]))
