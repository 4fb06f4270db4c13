"""A TCP proxy between two parts, and the faults that it can put there.

It forwards bytes as they come. A fault sees each connection and each portion of bytes that passes; what it
does not handle goes its way. Faults count what they did, so that a test can wait until one was felt.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from waiting import PATIENCE

PORTION = 1 << 16
NOW = struct.pack("ii", 1, 0)
"""SO_LINGER that makes a close a reset."""
REQUEST = b" HTTP/1.1\r\n"


class Link:
    """One connection through the proxy: the client's socket and the server's."""

    def __init__(self, client: socket.socket, server: socket.socket | None, number: int) -> None:
        self.client = client
        self.server = server
        self.number = number
        self.is_cut = self.is_reset = False
        self.passed = {True: 0, False: 0}
        """Bytes on their way to the client, and to the server, since the fault began."""

    def cut(self, *, reset: bool = False) -> None:
        """End both sides: in order, or with a reset.

        Who waits for bytes of a socket is woken, and the thread that serves the connection closes it: closed
        by another one, it would stay open for as long as somebody waits there.
        """
        self.is_cut, self.is_reset = True, reset
        for one in (self.client, self.server):
            if one is None:
                continue
            with contextlib.suppress(OSError):
                if reset:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
                one.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)

    def end(self, *, to_client: bool) -> None:
        """Say to one side that nothing more comes; the other direction stays open."""
        target = self.towards(to_client=to_client)
        if target is not None:
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

    def towards(self, *, to_client: bool) -> socket.socket | None:
        """The socket by which bytes leave; None while there is no server yet."""
        return self.client if to_client else self.server


class Fault:
    """Does nothing. Subclasses change what happens to connections while they are in force."""

    def __init__(self) -> None:
        self.done = threading.Semaphore(0)
        self.over = threading.Event()

    def did(self) -> None:
        """Count that somebody felt it."""
        self.done.release()

    def felt(self, times: int = 1, patience: float = PATIENCE) -> None:
        """Wait until it was felt so many times."""
        for _ in range(times):
            assert self.done.acquire(timeout=patience), f"{type(self).__name__} was not felt"

    def begin(self, link: Link) -> None:
        """It comes into force under an open connection."""

    def opened(self, link: Link) -> bytes | None:
        """A connection was made. Bytes are the answer instead of the server's."""
        return None

    def on_the_way(self, link: Link, data: bytes, *, to_client: bool) -> bytes | None:
        """What is passed on instead of `data`; None ends the connection."""
        return data


class Cut(Fault):
    """Open connections end, and new ones end at once."""

    reset = False

    def begin(self, link: Link) -> None:
        link.cut(reset=self.reset)
        self.did()

    def opened(self, link: Link) -> bytes | None:
        link.cut(reset=self.reset)
        self.did()
        return None


class Reset(Cut):
    """The same with a reset instead of an end."""

    reset = True


class Delay(Fault):
    """Each portion waits."""

    seconds = 0.3

    def on_the_way(self, link: Link, data: bytes, *, to_client: bool) -> bytes | None:
        self.over.wait(self.seconds)
        self.did()
        return data


class HalfClose(Fault):
    """One direction ends, the other stays open."""

    to_client = True

    def begin(self, link: Link) -> None:
        link.end(to_client=self.to_client)
        self.did()

    def on_the_way(self, link: Link, data: bytes, *, to_client: bool) -> bytes | None:
        if to_client is not self.to_client:
            return data
        # New connections: after the first portion.
        if link.passed[to_client] == 0:
            return data
        link.end(to_client=to_client)
        self.did()
        return b""


class HalfCloseToServer(HalfClose):
    """The server is told that no more requests come, while its answers pass."""

    to_client = False


class Truncate(Fault):
    """Answers end somewhere: in a line, in a number, in a header."""

    to_client = True
    rooms = (7, 60, 400, 3_000, 20_000)
    """Bytes that pass on a connection before it happens."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice
        self._room: dict[int, int] = {}

    def on_the_way(self, link: Link, data: bytes, *, to_client: bool) -> bytes | None:
        if to_client is not self.to_client:
            return data
        room = self._room.setdefault(link.number, self._dice.choice(self.rooms))
        rest = room - link.passed[to_client]
        if len(data) <= rest:
            return data
        target = link.towards(to_client=to_client)
        if target is not None:
            with contextlib.suppress(OSError):
                target.sendall(self.broken(data[: max(rest, 0)]))
        self.did()
        return None

    def broken(self, data: bytes) -> bytes:
        """The last bytes that are passed."""
        return data


class TruncateRequests(Truncate):
    """Requests end somewhere, and so do their connections."""

    to_client = False
    rooms = (7, 60, 200)


class Garbage(Truncate):
    """Answers go over into noise, and end."""

    def broken(self, data: bytes) -> bytes:
        return data + self._dice.randbytes(200) + b"\n" + self._dice.randbytes(50)


class Hang(Fault):
    """Nothing passes; connections stay open. When it is over they end.

    Somebody has felt it who has given up and made a new connection; or, `at_once`, who waits.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        super().__init__()
        self._at_once = at_once
        self._old: set[int] = set()

    def begin(self, link: Link) -> None:
        self._old.add(link.number)

    def on_the_way(self, link: Link, data: bytes, *, to_client: bool) -> bytes | None:
        if self._at_once or link.number not in self._old:
            self.did()
        self.over.wait()
        return None


class Answer(Fault):
    """A proxy answers each request by itself."""

    def __init__(self, status: str, body: bytes, *headers: str) -> None:
        super().__init__()
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
        self._answer = "\r\n".join(lines).encode() + body

    def begin(self, link: Link) -> None:
        link.cut()

    def opened(self, link: Link) -> bytes | None:
        self.did()
        return self._answer


class Short(Fault):
    """No connection lives for longer than a moment."""

    seconds = 0.1

    def opened(self, link: Link) -> bytes | None:
        def end() -> None:
            self.over.wait(self.seconds)
            link.cut()
            self.did()

        threading.Thread(target=end, daemon=True).start()
        return None

    def begin(self, link: Link) -> None:
        link.cut()


class Silent(Fault):
    """Blank lines, which say that a feed lives, do not arrive; everything else does."""

    def on_the_way(self, link: Link, data: bytes, *, to_client: bool) -> bytes | None:
        # A heartbeat is a chunk of its own: its length, a line end.
        if to_client and data.strip(b"1\r\n") == b"":
            self.did()
            return b""
        return data


class Proxy:
    """Listens on a free port of loopback and passes everything on to `port`."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.fault = Fault()
        self.connections = 0
        self.requests = 0
        """Heads of HTTP requests that were seen."""
        self._links: dict[int, Link] = {}
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def tries(self) -> int:
        """Connections and requests so far."""
        return self.connections + self.requests

    @contextmanager
    def faulty(self, fault: Fault) -> Iterator[Fault]:
        """Have the fault in force until the block ends."""
        before = self.fault
        with self._lock:
            self.fault = fault
            links = list(self._links.values())
        for link in links:
            link.passed = {True: 0, False: 0}
            fault.begin(link)
        try:
            yield fault
        finally:
            self.fault = before
            fault.over.set()
            with self._lock:
                links = list(self._links.values())
            for link in links:
                link.cut()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.fault.over.set()
        with self._lock:
            links = list(self._links.values())
        for link in links:
            link.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            link = Link(client, None, self.connections)
            fault = self.fault
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            answer = fault.opened(link)
            if answer is not None:
                self._say(client, answer)
                return
            if link.is_cut:
                return
            link.server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            link.server.settimeout(None)
            link.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._links[link.number] = link
            back = threading.Thread(target=self._pass_on, args=(link, True), daemon=True)
            back.start()
            self._pass_on(link, False)
            back.join()
        except OSError:
            return
        finally:
            with self._lock:
                self._links.pop(link.number, None)
            for one in (link.client, link.server):
                if one is not None:
                    one.close()

    def _say(self, client: socket.socket, answer: bytes) -> None:
        client.settimeout(5)
        head = b""
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in head:
                data = client.recv(PORTION)
                if not data:
                    return
                head += data
            self.requests += 1
            client.sendall(answer)
            client.shutdown(socket.SHUT_WR)
            # What is still sent is read: a reset would take the answer with it.
            while client.recv(PORTION):
                pass

    def _pass_on(self, link: Link, to_client: bool) -> None:
        source, target = link.towards(to_client=not to_client), link.towards(to_client=to_client)
        assert source is not None
        assert target is not None
        try:
            while (data := source.recv(PORTION)) and not link.is_cut:
                if not to_client and REQUEST in data:
                    self.requests += data.count(REQUEST)
                passed = self.fault.on_the_way(link, data, to_client=to_client)
                if passed is None:
                    link.cut()
                    return
                link.passed[to_client] += len(data)
                if passed:
                    target.sendall(passed)
            if not link.is_reset:
                target.shutdown(socket.SHUT_WR)
        except OSError:
            link.cut(reset=link.is_reset)
