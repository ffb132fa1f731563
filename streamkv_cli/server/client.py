"""Reach a server from a process that wants to stay light: the standard library alone."""

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from streamkv_cli.errors import EXIT_DISK, StreamKVError
from streamkv_cli.server.place import Place
from streamkv_cli.server.wire import Event, read_events

_ANSWER = 5.0
"""Seconds in which a living server says that it is there, whatever it is working on."""

_LOOK = 10.0
"""Seconds between looks whether a silent server is still there."""


class ServerLostError(StreamKVError):
    """The server went away in the middle of an answer."""

    exit_code = EXIT_DISK


class NoAnswerError(Exception):
    """No living server there, or it is not the one for this request."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket.

    Args:
        path: of the socket.
        timeout: seconds to wait for anything; None for ever.
    """

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


def call(place: Place, method: str, path: str) -> dict[str, Any]:
    """A short request to a server.

    Raises:
        NoAnswerError: it does not answer.
    """
    connection = UnixConnection(place.socket, _ANSWER)
    try:
        connection.request(method, path)
        found = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswerError(str(error)) from None
    finally:
        connection.close()
    if not isinstance(found, dict):
        raise NoAnswerError("it is none of ours")
    return found


def events(place: Place, path: str, fields: dict[str, Any], stdin: BinaryIO) -> Iterator[Event]:
    """Have a server do something, and tell what it tells, up to "done".

    Args:
        fields: the request.
        stdin: handed on once the server has taken the request; empty where there is none.

    Raises:
        NoAnswerError: nothing has come of it, and nothing of `stdin` was read.
        ServerLostError: the server went away after it had begun.
    """
    call(place, "GET", "/health")  # a process that was stopped takes connections all the same
    connection = UnixConnection(place.socket, None)
    begun = False  # something was told, or taken from standard input
    try:
        with _Watchdog(place, connection):
            response = _send(connection, path, fields)
            if response.status != 200:
                raise NoAnswerError(_why(response.read()))
            begun = fields.get("question") == "-"
            threading.Thread(target=_feed, args=(connection.sock, stdin), daemon=True).start()
            for event in read_events(response):
                begun = True
                yield event
                if event[0] == "done":
                    return
            raise ConnectionError("it closed the connection")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if begun:
            raise ServerLostError(
                "the server ended in the middle of the answer", "ask again"
            ) from None
        raise NoAnswerError(str(error)) from None
    finally:
        connection.close()


def _send(
    connection: UnixConnection, path: str, fields: dict[str, Any]
) -> http.client.HTTPResponse:
    """Begin a request whose body goes on for as long as there is standard input."""
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", "application/x-ndjson")
    connection.putheader("Accept", "text/event-stream")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    connection.send(_chunk(json.dumps(fields).encode() + b"\n"))
    return connection.getresponse()


def _feed(sock: socket.socket, stdin: BinaryIO) -> None:
    """Hand standard input on, as it comes."""
    with suppress(OSError, ValueError):  # the connection was closed: whoever reads it says so
        while piece := _piece(stdin):
            sock.sendall(_chunk(piece))
        sock.sendall(b"0\r\n\r\n")


def _piece(stdin: BinaryIO) -> bytes:
    # Not through the buffer of sys.stdin: a thread that waits inside it may not be left behind.
    try:
        descriptor = stdin.fileno()
    except OSError:
        return stdin.read(65536)
    return os.read(descriptor, 65536)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _why(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return "it is none of ours"


class _Watchdog:
    """Looks now and then whether a server that says nothing still lives; if not, hangs up."""

    def __init__(self, place: Place, connection: UnixConnection) -> None:
        self._place = place
        self._connection = connection
        self._over = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK):
            try:
                call(self._place, "GET", "/health")
            except NoAnswerError:
                with suppress(OSError, AttributeError):
                    self._connection.sock.shutdown(socket.SHUT_RDWR)
                return
