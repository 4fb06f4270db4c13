"""People who write, edit and delete documents while faults happen, and outlive a CouchDB that goes away."""

from __future__ import annotations

import random
import threading

import requests
from reconcile.world import World

PATIENCE = 60.0
AT_ONCE = 20


class Load:
    """Writes to the database itself, around every proxy, until it is told to stop.

    What CouchDB was asked for while it ended may have happened or not: each round asks for the revisions
    first.
    """

    def __init__(self, world: World, seed: int, *, people: int = 300, pause: float = 0.05) -> None:
        self._world = world
        self._dice = random.Random(seed)
        self._people = people
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failures: list[BaseException] = []
        self.rounds = 0
        self.written = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert self.failures == []

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._dice.uniform(0, 2 * self._pause)):
                try:
                    self._round()
                except requests.HTTPError:
                    raise
                except requests.RequestException:
                    continue  # CouchDB is away
                self.rounds += 1
        except BaseException as error:
            self.failures.append(error)

    def _round(self) -> None:
        names = [f"person-{n}" for n in self._dice.sample(range(self._people), AT_ONCE)]
        new = [f"report-{self._world.database}-{self._dice.getrandbits(48):012x}" for _ in range(3)]
        number = self._dice.randrange(5)
        self._world.put(*names, *new, type="person", name=f"Ada {number}")
        self.written += AT_ONCE + 3
        self._bury(self._dice.sample(names, 2))

    def _bury(self, names: list[str]) -> None:
        rows = self._world.ask("POST", "/_all_docs", json={"keys": names})["rows"]
        gone = [
            {"_id": row["key"], "_rev": row["value"]["rev"], "_deleted": True}
            for row in rows
            if "value" in row and not row["value"].get("deleted")
        ]
        self._world.ask("POST", "/_bulk_docs", json={"docs": gone})
        self.written += len(gone)
