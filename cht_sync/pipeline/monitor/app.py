"""The monitoring API: which path gives what. Answers and errors are JSON, `/metrics` is text.

Source: Logstash's documentation, "Monitoring APIs", and its module logstash/api. Beside Logstash's paths
there are `/metrics`, `/healthz` (this process answers) and `/readyz` (every pipeline does its work).

Nothing in an answer is secret: no configuration, no addresses with credentials, no content of documents.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import parse_qs

import msgspec

from cht_sync import __version__
from cht_sync.pipeline import plugins
from cht_sync.pipeline.monitor import prometheus, readiness
from cht_sync.pipeline.monitor.flows import Flows
from cht_sync.pipeline.monitor.host import Host
from cht_sync.pipeline.monitor.levels import Levels
from cht_sync.pipeline.monitor.metrics import Registry
from cht_sync.pipeline.monitor.node import Node
from cht_sync.pipeline.monitor.stats import Stats

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

JSON = "application/json"
WAITERS = 2
"""Requests that may wait for a status at once; the other threads stay free for everybody else."""
LOOK_AGAIN = 0.2
"""Seconds between two looks at a status that is waited for."""
STATUSES = ("green", "yellow", "red")

_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "micros": 1e-6, "nanos": 1e-9}
_TIME = re.compile(r"(\d+)(d|h|ms|m|s|micros|nanos)")


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: HTTPStatus, message: str | None = None) -> None:
        super().__init__(message or status.phrase.title())
        self.status = status


class Query:
    """The parameters of a request."""

    def __init__(self, text: str) -> None:
        self._values: Mapping[str, Sequence[str]] = parse_qs(text, keep_blank_values=True)

    def has(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> str | None:
        return self._values[name][-1] if name in self._values else None

    def flag(self, name: str) -> bool:
        """A boolean as Logstash reads one. Raises Refusal."""
        text = (self.get(name) or "").lower()
        if text in ("true", "t", "yes", "y", "1"):
            return True
        if text in ("", "false", "f", "no", "n", "0"):
            return False
        raise Refusal(HTTPStatus.BAD_REQUEST, f'invalid value for Boolean: "{text}"')


class MonitorApp:
    """The WSGI application. `stop` ends requests that wait."""

    def __init__(self, registry: Registry, node: Node, flows: Flows, host: Host) -> None:
        self.stop = threading.Event()
        self._registry = registry
        self._node = node
        self._host = host
        self._stats = Stats(registry, flows, host)
        self._levels = Levels()
        self._waiters = threading.BoundedSemaphore(WAITERS)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        query = Query(environ.get("QUERY_STRING", ""))
        status, kind = HTTPStatus.OK, JSON
        try:
            answer = self._answer(environ, path.rstrip("/") or "/", query)
        except Refusal as refusal:
            status = refusal.status
            answer = {"path": path, "status": status.value, "error": {"message": str(refusal)}}
        except Exception:
            log.exception("the monitoring API could not answer %s", path)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            answer = {"path": path, "status": status.value, "error": {"message": "Internal Server Error"}}
        if isinstance(answer, _Other):
            status, kind, answer = answer.status, answer.kind, answer.body
        body = answer if isinstance(answer, bytes) else _json(answer, pretty=query.has("pretty"))
        start_response(
            f"{status.value} {status.phrase}", [("Content-Type", kind), ("Content-Length", str(len(body)))]
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: WSGIEnvironment, path: str, query: Query) -> Any:
        method = environ["REQUEST_METHOD"]
        if method == "PUT" and path in ("/_node/logging", "/_node/logging/reset"):
            return self._set_levels(environ, path)
        if method not in ("GET", "HEAD"):
            raise Refusal(HTTPStatus.NOT_FOUND)
        exact: dict[str, Callable[[Query], Any]] = {
            "/": self._root,
            "/_node": lambda _query: self._common(self._stats.info()),
            "/_node/plugins": lambda _query: self._common(_plugins()),
            "/_node/logging": lambda _query: self._common({"loggers": self._levels.show()}),
            "/_node/stats": lambda query: self._common(self._stats.all(vertices=query.flag("vertices"))),
            "/_health_report": self._health_report,
            "/metrics": self._metrics,
            "/healthz": lambda _query: {"status": "ok"},
            "/readyz": self._readyz,
        }
        if path in exact:
            return exact[path](query)
        for prefix, members in (("/_node/stats/", self._stats_members), ("/_node/", self._node_members)):
            if path.startswith(prefix):
                name, _, id = path.removeprefix(prefix).partition("/")
                found = members(name, query)
                if id:
                    if name != "pipelines" or id not in found["pipelines"]:
                        raise Refusal(HTTPStatus.NOT_FOUND)
                    found = {"pipelines": {id: found["pipelines"][id]}}
                return self._common(found)
        raise Refusal(HTTPStatus.NOT_FOUND)

    def _common(self, members: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._node.common(self._registry), **members}

    def _node_members(self, names: str, _query: Query) -> dict[str, Any]:
        return _chosen(self._stats.info(), names)

    def _stats_members(self, names: str, query: Query) -> dict[str, Any]:
        vertices = query.flag("vertices")
        if names == "pipelines":
            return {"pipelines": self._stats.pipelines(vertices=vertices)}
        return _chosen(self._stats.all(vertices=vertices), names)

    def _root(self, query: Query) -> Any:
        wanted, timeout = query.get("wait_for_status"), query.get("timeout")
        if wanted is not None and wanted.lower() not in STATUSES:
            raise Refusal(
                HTTPStatus.BAD_REQUEST,
                f"Invalid status '{wanted}' provided. The valid statuses are: green, yellow, red.",
            )
        seconds = None if timeout is None else _seconds(timeout)
        if wanted is not None:
            if seconds is None:
                raise Refusal(HTTPStatus.BAD_REQUEST, "A timeout must be provided along with a status.")
            self._wait_for(wanted.lower(), seconds)
        return self._common({"build_snapshot": False, "cht_sync": {"version": __version__}})

    def _wait_for(self, wanted: str, seconds: float) -> None:
        if not self._waiters.acquire(blocking=False):
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests wait for a status already.")
        try:
            end = time.monotonic() + seconds
            while True:
                status = readiness.status(self._registry.pipelines())
                if status in STATUSES and STATUSES.index(status) <= STATUSES.index(wanted):
                    return
                left = end - time.monotonic()
                if left <= 0 or self.stop.wait(min(left, LOOK_AGAIN)):
                    raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f"Timed out waiting for status '{wanted}'.")
        finally:
            self._waiters.release()

    def _health_report(self, _query: Query) -> Any:
        return {**self._node.identity(self._registry), **readiness.report(self._registry.pipelines())}

    def _metrics(self, _query: Query) -> _Other:
        text = prometheus.exposition(self._registry, self._host)
        return _Other(HTTPStatus.OK, prometheus.CONTENT_TYPE, text.encode())

    def _readyz(self, query: Query) -> Any:
        reasons = readiness.unready(self._registry.pipelines())
        answer = _json({"ready": not reasons, "reasons": reasons}, pretty=query.has("pretty"))
        return _Other(HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK, JSON, answer)

    def _set_levels(self, environ: WSGIEnvironment, path: str) -> Any:
        if path.endswith("/reset"):
            self._levels.reset()
            return self._common({"acknowledged": True})
        try:
            self._levels.set(msgspec.json.decode(environ["wsgi.input"].read()))
        except ValueError as error:
            answer = _json(self._common({"error": str(error)}), pretty=False)
            return _Other(HTTPStatus.BAD_REQUEST, JSON, answer)
        return self._common({"acknowledged": True})


class _Other:
    """An answer that is no JSON, or has a status of its own."""

    def __init__(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.status = status
        self.kind = kind
        self.body = body


def _plugins() -> dict[str, Any]:
    names = sorted(
        f"logstash-{kind}-{name}" for kind in get_args(plugins.PluginKind) for name in plugins.plugins(kind)
    )
    return {"total": len(names), "plugins": [{"name": name, "version": __version__} for name in names]}


def _chosen(members: Mapping[str, Any], names: str) -> dict[str, Any]:
    """Those of a comma list; those that are not known are left out, as Logstash does, unless all are."""
    wanted = {name.strip() for name in names.split(",")}
    found = {name: value for name, value in members.items() if name in wanted}
    if not found:
        raise Refusal(HTTPStatus.NOT_FOUND)
    return found


def _seconds(text: str) -> float:
    """A time value of Logstash; a bare number is nanoseconds. Raises Refusal."""
    if text.isdigit():
        return int(text) * _UNITS["nanos"]
    match = _TIME.fullmatch(text)
    if match is None:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"Invalid timeout '{text}' provided.")
    return int(match[1]) * _UNITS[match[2]]


def _json(answer: Any, *, pretty: bool) -> bytes:
    body = msgspec.json.encode(answer)
    return msgspec.json.format(body, indent=2) if pretty else body
