"""Who may come in: hosts, origins, the token, and how much may be sent. An ASGI middleware before everything else."""

import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

LOCAL = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "live_token"
BODY = 40_000_000       # bytes of a request, at most
HEADERS = [
    (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"SAMEORIGIN"),
    (b"content-security-policy", b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' "
                                 b"ws: wss:; frame-ancestors 'self'; base-uri 'self'; form-action 'self'"),
]


class Guard:
    """Wraps an ASGI app.

    hosts   names and addresses under which the page may be asked for: others are refused, as another site's page could
            have its name point here; empty: any, which needs a token
    token   what ?token= or its cookie must be; None: nothing
    All must come from a page of the same host, or from no page at all; but another page may link to this one.
    """

    def __init__(self, app, hosts: Iterable[str] = LOCAL, token: str | None = None):
        self.app, self.hosts, self.token = app, frozenset(hosts), token
        if not self.hosts and not token:
            raise ValueError("a page for any host needs a token")

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if problem := self.problem(scope, headers, given):
            return await refuse(scope, receive, send, *problem)
        fresh = scope["type"] == "http" and self.token and given
        await self.app(scope, limited(receive), answering(send, self.token if fresh else None))

    def problem(self, scope, headers: dict[str, str], given: str) -> tuple[int, str] | None:
        """Status and sentence of why not, or None."""
        host = headers.get("host", "")
        if self.hosts and name_of(host) not in self.hosts:
            return 421, "This page is not served under that name."
        origin = headers.get("origin")
        linked = headers.get("sec-fetch-dest") == "document" and scope.get("method") == "GET"
        foreign = (scope["type"] == "http" and not linked
                   and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"))
        if foreign or origin is not None and urlsplit(origin).netloc != host:
            return 403, "Another site's page asked for this."
        if self.token and not any(secrets.compare_digest(self.token.encode(), found.encode())
                                  for found in (given, cookie(headers))):
            return 401, "This page needs its token: open the whole link that the server printed."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > BODY:
            return 413, f"That is too much: expected {BODY // 10 ** 6} MB at most."
        return None


def name_of(host: str) -> str:
    """The name of a host, without its port."""
    return host if host.endswith("]") else host.rsplit(":", 1)[0] if ":" in host else host


def cookie(headers: dict[str, str]) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def limited(receive):
    """`receive`, which ends a request that sends more than BODY, whatever length it gave."""
    total = 0

    async def counted():
        nonlocal total
        message = await receive()
        total += len(message.get("body", b"")) if message["type"] == "http.request" else 0
        return {"type": "http.disconnect"} if total > BODY else message

    return counted


def answering(send, token: str | None):
    """`send`, with headers for the browser, and the token as a cookie."""
    async def with_headers(message):
        if message["type"] == "http.response.start":
            own = [(b"set-cookie", f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/".encode())] if token else []
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS, *own]}
        await send(message)

    return with_headers


async def refuse(scope, receive, send, status: int, sentence: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        return await send({"type": "websocket.close", "code": 4000 + status})
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", b"text/plain; charset=utf-8")]})
    await send({"type": "http.response.body", "body": sentence.encode()})
