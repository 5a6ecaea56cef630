"""The operator's own proxy, through which all requests may have to go."""

import aiohttp
import httpx

from core.errors import ConfigurationError


def parse_proxy(url: str) -> httpx.Proxy | None:
    """Return the operator's proxy; None where the setting names none.

    Raises:
        ConfigurationError: the address cannot be used.
    """
    if not url:
        return None
    try:
        proxy = httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"EGRESS_PROXY: {error}") from error
    if proxy.url.scheme not in {"http", "https"} or not proxy.url.host:
        raise ConfigurationError("EGRESS_PROXY: must be http[s]://[user:password@]host:port")
    if proxy.auth is None:
        return proxy
    # Not `auth`: httpx-aiohttp 0.2.0 makes aiohttp's BasicAuth of it, deprecated in aiohttp 3.14.
    # aiohttp turns the proxy's Authorization into the Proxy-Authorization that goes out.
    authorization = aiohttp.encode_basic_auth(*proxy.auth)
    return httpx.Proxy(str(proxy.url), headers={"authorization": authorization})
