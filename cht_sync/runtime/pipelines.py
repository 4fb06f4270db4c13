"""What `status` asks the engine: which pipelines have failed, and why.

A pipeline that has failed writes nothing, its progress neither, so only the engine itself knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import requests

TIMEOUT = 3.0
"""Seconds for an answer of the monitoring API."""


def pipeline_problems(place: str) -> list[str]:
    """Return one line for each pipeline that has failed; or that the monitoring API does not answer.

    `place` is the API's host:port.
    """
    address = f"http://{place}/_node/stats/pipelines"
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the environment is not for our own services
            pipelines: dict[str, Any] = session.get(address, timeout=TIMEOUT).json()["pipelines"]
        return list(_failed(pipelines))
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        return [f"logstash: the monitoring API at {place} does not answer ({type(error).__name__})"]


def _failed(pipelines: dict[str, Any]) -> Iterator[str]:
    for id, one in pipelines.items():
        ours = one["cht_sync"]
        if ours["state"] == "terminated":
            reasons = " ".join(ours["problems"]) or "cht-sync logs logstash says why"
            yield f"pipeline {id} has failed and is tried again by itself: {reasons}"
