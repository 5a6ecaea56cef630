"""Whether a request comes from the page itself, and whether a cookie would be safe on its way.

A browser sends the cookie along whoever makes it ask; only its own words tell who that was.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request

from ingress.http.problems import Problem

#: Methods that change nothing (RFC 9110, 9.2.1).
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
SAME_ORIGIN = "same-origin"
FETCH_SITE = "Sec-Fetch-Site"


def is_secure(request: Request, base_url: str) -> bool:
    """Return whether the client came by https, here or to a proxy before us.

    Args:
        request: of which also a proxy that ends TLS and does not say so is recognised.
        base_url: where clients reach this instance.
    """
    if request.scope["scheme"] == "https" or request.headers.get("origin", "")[:6] == "https:":
        return True
    public = urlsplit(base_url)
    return public.scheme == "https" and request.headers.get("host", "").lower() == public.netloc


def is_loopback(request: Request) -> bool:
    """Return whether the client calls this machine by a name that never leaves it."""
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_own_page(request: Request, base_url: str) -> None:
    """Check that this server's own page sent a request, by what the browser says of it.

    Raises:
        Problem: `cross_site`: another site did, or the browser does not say.
    """
    site, origin = request.headers.get(FETCH_SITE), request.headers.get("origin")
    is_own = site == SAME_ORIGIN if site is not None else _is_own(origin, request, base_url)
    if not is_own:
        raise cross_site(f"{FETCH_SITE} is {site!r} and Origin is {origin!r}")


def refuse_other_pages(request: Request, base_url: str) -> None:
    """Check that no page of another site sent a request; programs say nothing, and pass.

    Raises:
        Problem: `cross_site`.
    """
    if FETCH_SITE in request.headers or "origin" in request.headers:
        require_own_page(request, base_url)


def cross_site(why: str) -> Problem:
    """Return the answer to what another site may have sent with somebody's cookie."""
    return Problem("cross_site", why)


def _is_own(origin: str | None, request: Request, base_url: str) -> bool:
    public = urlsplit(base_url)
    host = request.headers.get("host", "").lower()
    own = {
        f"{public.scheme}://{public.netloc}".lower(),
        f"{'https' if is_secure(request, base_url) else 'http'}://{host}",
    }
    return origin is not None and origin.lower() in own
