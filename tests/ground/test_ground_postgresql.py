"""What answers at PostgreSQL's port may be anything."""

from __future__ import annotations

import socket
import threading

import psycopg2
import pytest

from cht_sync.postgresql import connect


def test_noise_instead_of_postgresql_is_an_error_of_the_driver() -> None:
    """An error message of the old protocol, which libpq passes on as it is; no text in any encoding."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _address = listener.accept()
            with client:
                client.recv(1 << 16)
                client.sendall(b"E\xdc\xff\xfe\xdc\xff noise\n\x00")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(psycopg2.OperationalError, match="is not PostgreSQL"):
            connect(
                host="127.0.0.1",
                port=listener.getsockname()[1],
                user="somebody",
                dbname="data",
                sslmode="disable",
                connect_timeout=10,
            )
