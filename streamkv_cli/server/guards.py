"""Who may speak to a server over TCP. Whoever reaches the Unix socket is the user already.

A browser on this machine reaches 127.0.0.1 on behalf of any page it shows. So what a browser adds
of itself is refused (Origin, Sec-Fetch-Site), a name that somebody pointed at this address is
refused (Host), and a body must be what no form can send (Content-Type).
"""

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from streamkv_cli.errors import UsageError

BODIES = ("application/json", "application/x-ndjson")


@dataclass(frozen=True)
class Address:
    """Where HTTP over TCP is served: an IP address, or "localhost", and a port."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        """As in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(text: str, token: str | None) -> Address:
    """The address that `--http` names.

    Raises:
        UsageError: it is none, or others reach it and there is no token.
    """
    parts = urlsplit(f"//{text}")
    try:
        host, port = parts.hostname or "", parts.port
        if port is None or parts.path or (host != "localhost" and not ipaddress.ip_address(host)):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"--http {text} is no address", "write IP:PORT, e.g. 127.0.0.1:8765"
        ) from None
    found = Address(host, port)
    if not found.loopback and not token:
        raise UsageError(
            f"--http {text} can be reached from other machines",
            "give a --token (better STREAMKV_TOKEN), or use 127.0.0.1",
        )
    return found


class Guards:
    """Refuses what comes over TCP from whom it must not.

    Args:
        app: what is guarded.
        address: None where there is no TCP.
        token: that every request over TCP has to carry, if any.
    """

    def __init__(self, app: ASGIApp, address: Address | None, token: str | None) -> None:
        self._app = app
        self._address = address
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or answer why not."""
        # Over a Unix socket there is no port.
        if scope["type"] == "http" and scope["server"][1] is not None:
            refusal = self._refusal(Headers(scope=scope), scope["method"])
            if refusal is not None:
                status, why = refusal
                await JSONResponse({"type": "error", "error": why}, status)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers, method: str) -> tuple[int, str] | None:
        assert self._address is not None
        if self._token:
            given = headers.get("authorization", "").removeprefix("Bearer ")
            # Compared in constant time: how long it takes must not tell how much was right.
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return 401, "no token, or a wrong one; send Authorization: Bearer TOKEN"
        if self._address.loopback and _host(headers.get("host", "")) not in self._names():
            return 403, "the Host header names another machine"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "requests of web pages are refused"
        if "origin" in headers:
            return 403, "requests of web pages are refused"
        if method == "POST" and _kind(headers) not in BODIES:
            return 415, f"send Content-Type: {BODIES[0]}"
        return None

    def _names(self) -> set[str]:
        assert self._address is not None
        return {"localhost", "127.0.0.1", "::1", self._address.host}


def _kind(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _host(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
