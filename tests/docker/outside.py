"""Somebody else's CouchDB and PostgreSQL, as gamma and prod meet them."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import requests
from migrate.couch2pg_schema import SCHEMA as COUCH2PG

LOGIN = ("reader", "of-somebody-elses-couchdb")
OWNER, PASSWORD, DATABASE = "owner", "of-somebody-elses-postgres", "warehouse"
DOCUMENTS = 200
AT_ONCE = 2_000


@dataclass(frozen=True)
class Outside:
    """Both are published at `address`; the logins are those of `outside.yml`."""

    address: str
    couchdb_port: int
    postgres_port: int

    @property
    def couchdb(self) -> dict[str, str]:
        """Settings that name this CouchDB."""
        return {
            "COUCHDB_HOST": self.address,
            "COUCHDB_PORT": str(self.couchdb_port),
            "COUCHDB_USER": LOGIN[0],
            "COUCHDB_PASSWORD": LOGIN[1],
            "COUCHDB_DBS": "medic",
        }

    @property
    def postgres(self) -> dict[str, str]:
        """Settings that name this PostgreSQL."""
        return {
            "POSTGRES_HOST": self.address,
            "POSTGRES_PORT": str(self.postgres_port),
            "POSTGRES_USER": OWNER,
            "POSTGRES_PASSWORD": PASSWORD,
            "POSTGRES_DB": DATABASE,
        }

    def answers(self) -> bool:
        """Whether both let us in."""
        try:
            with closing(self._connect()):
                return requests.get(self._url(""), auth=LOGIN, timeout=5).status_code == 200
        except (psycopg2.Error, requests.RequestException):
            return False

    def fill(self, database: str = "medic", documents: int = DOCUMENTS) -> None:
        """Write documents, where there are none yet."""
        requests.put(self._url(database), auth=LOGIN, timeout=30)
        docs = [{"_id": f"person-{n}", "type": "person", "name": f"Nobody {n}"} for n in range(documents)]
        for begin in range(0, documents, AT_ONCE):
            some = {"docs": docs[begin : begin + AT_ONCE]}
            answer = requests.post(self._url(f"{database}/_bulk_docs"), auth=LOGIN, json=some, timeout=60)
            answer.raise_for_status()

    def put(self, document_id: str, database: str = "medic") -> None:
        """Write one more."""
        doc = {"type": "person", "name": document_id}
        answer = requests.put(self._url(f"{database}/{document_id}"), auth=LOGIN, json=doc, timeout=30)
        answer.raise_for_status()

    def was_read_by_couch2pg(self, database: str = "medic") -> None:
        """Make the tables that couch2pg makes, with the documents that there are."""
        query = {"include_docs": "true"}
        answer = requests.get(self._url(f"{database}/_changes"), auth=LOGIN, params=query, timeout=60).json()
        documents = [(json.dumps(row["doc"]),) for row in answer["results"]]
        source = f"{self.address}:{self.couchdb_port}/{database}"
        with closing(self._connect()) as connection, connection, connection.cursor() as cursor:
            cursor.execute(COUCH2PG)
            cursor.executemany("insert into couchdb values (%s)", documents)
            cursor.execute("insert into couchdb_progress values (%s, %s)", (answer["last_seq"], source))

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL as its owner."""
        with closing(self._connect()) as connection, connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def _connect(self) -> Any:
        return psycopg2.connect(
            host=self.address, port=self.postgres_port, user=OWNER, password=PASSWORD, dbname=DATABASE
        )

    def _url(self, path: str) -> str:
        return f"http://{self.address}:{self.couchdb_port}/{path}"
