"""The operator's own proxy, through which all requests may have to go."""

import aiohttp
import httpx

from core.errors import ConfigurationError

_RULE = "EGRESS_PROXY: must be http[s]://[user:password@]host:port"


def parse_proxy(url: str) -> httpx.Proxy | None:
    """Return the operator's proxy; None where the setting names none.

    Raises:
        ConfigurationError: the address cannot be used.
    """
    if not url:
        return None
    try:
        proxy = httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL):
        raise ConfigurationError(_RULE) from None  # the library's words may hold the password
    if proxy.url.scheme not in {"http", "https"} or not proxy.url.host:
        raise ConfigurationError(_RULE)
    if proxy.auth is None:
        return proxy
    # Not `auth`: httpx-aiohttp 0.2.0 makes aiohttp's BasicAuth of it, deprecated in aiohttp 3.14.
    # aiohttp turns the proxy's Authorization into the Proxy-Authorization that goes out.
    authorization = aiohttp.encode_basic_auth(*proxy.auth)
    return httpx.Proxy(str(proxy.url), headers={"authorization": authorization})
