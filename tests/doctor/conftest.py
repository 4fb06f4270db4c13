"""A healthy installation of prod beside real servers, into which each test puts one thing that is wrong."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_server import serving
from reconcile.conftest import warehouse, world  # noqa: F401 (fixtures)
from reconcile.world import World

from doctor.before_couchdb import BeforeCouchdb
from doctor.patient import Patient


@pytest.fixture
def patient(world: World) -> Patient:  # noqa: F811
    """Everything is well: the schema is there, the pipeline has read all, PostgREST answers."""
    world.put("one", "two")
    world.load()
    return Patient(world)


@pytest.fixture
def couchdb_door(patient: Patient) -> Iterator[BeforeCouchdb]:
    """A door before the patient's CouchDB, which may say something else."""
    place = patient.world.couch
    with serving(BeforeCouchdb(f"http://{place.host}:{place.port}")) as door:
        patient.changes["COUCHDB_PORT"] = str(door.port)
        yield door


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """What a server with a certificate that nobody knows has."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificate")
    words = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=127.0.0.1 -days 2"
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(folder, "cert.pem"), Path(folder, "key.pem"))
    return context
