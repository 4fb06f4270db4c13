"""A server that answers each request with bytes that a test has chosen, and such bytes."""

from __future__ import annotations

import contextlib
import socket
import threading

from hypothesis import strategies as st

PATIENCE = 20.0


class RawServer:
    """Answers each connection with the same bytes, and closes it."""

    def __init__(self) -> None:
        self.said = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        # Wakes up accept, which a close alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(PATIENCE)
                    while b"\r\n\r\n" not in connection.recv(1 << 16):
                        pass
                    connection.sendall(self.said)


lines_of_headers = st.sampled_from(
    [
        *(
            b"Content-Length: 5",
            b"Content-Length: -5",
            b"Content-Length: x",
            b"Content-Length: " + b"9" * 400,
        ),
        *(
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: x",
            b"Content-Encoding: gzip",
            b"Content-Encoding: br",
        ),
        *(
            b"Retry-After: 9",
            b"Retry-After: -1",
            b"Retry-After: " + b"9" * 400,
            b"Retry-After: Mon, 99 Foo 2020",
        ),
        *(
            b"Retry-After: \xff",
            b"Set-Cookie: AuthSession=\xff; Max-Age=x",
            b"Location: http://[",
            b"\xff\xfe: x",
            b":",
        ),
        *(
            b"Content-Type: text/html; charset=\xff",
            b"Content-Type: application/json; charset=nonsense",
            b"A" * 70_000,
        ),
        *(b"X: y\r\n folded", b"\0", b"Connection: close", b"X: " + b"y" * 70_000),
    ]
)


def answers(bodies: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Something like HTTP, with one of these bodies."""
    statuses = st.sampled_from(
        [200, 201, 204, 206, 301, 304, 400, 401, 403, 404, 409, 429, 500, 503, 99, 1000]
    )
    lines = statuses.map(lambda status: b"HTTP/1.1 %d Said" % status) | st.sampled_from(
        [b"HTTP/1.1 x", b"HTTP/9.9 200 OK", b"SSH-2.0-x", b"HTTP/1.1 200", b"HTTP/1.1 100 Continue", b""]
    )
    chunks = st.sampled_from([b"5\r\n[1,2]\r\n", b"zz\r\n", b"5\r\n[1,2]\r\n0\r\n\r\n"])
    return st.builds(
        lambda first, headers, body: b"\r\n".join([first, *headers, b"", body]),
        lines,
        st.lists(lines_of_headers, max_size=3),
        bodies | chunks,
    )
