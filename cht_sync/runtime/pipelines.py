"""What `status` and `doctor` ask the engine: which pipelines have failed, and what the others wait for.

A pipeline that has failed writes nothing, its progress neither, so only the engine itself knows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import requests

TIMEOUT = 3.0
"""Seconds for an answer of the monitoring API."""


@dataclass
class Told:
    """What the engine says of its pipelines, one line each."""

    failed: list[str] = field(default_factory=list)
    """Pipelines that have failed; or that the monitoring API does not answer."""
    hindered: list[str] = field(default_factory=list)
    """Pipelines that run, and what they try again until it succeeds."""


def ask(place: str) -> Told:
    """Return what the monitoring API at host:port tells."""
    address = f"http://{place}/_node/stats/pipelines"
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the environment is not for our own services
            pipelines: dict[str, Any] = session.get(address, timeout=TIMEOUT).json()["pipelines"]
        return _told(pipelines)
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        return Told([f"logstash: the monitoring API at {place} does not answer ({type(error).__name__})"])


def pipeline_problems(place: str) -> list[str]:
    """Return one line for each pipeline that has failed; or that the monitoring API does not answer."""
    return ask(place).failed


def _told(pipelines: dict[str, Any]) -> Told:
    told = Told()
    for id, one in pipelines.items():
        ours = one["cht_sync"]
        if ours["state"] == "terminated":
            reasons = " ".join(ours["problems"]) or "cht-sync logs logstash says why"
            told.failed.append(f"pipeline {id} has failed and is tried again by itself: {reasons}")
        else:
            told.hindered += [f"pipeline {id}: {problem}" for problem in ours["problems"]]
    return told
