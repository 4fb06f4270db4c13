"""A document made into the row that the pipeline makes of it: by the pipeline's own parts.

The event, the filters of the rendered configuration and the replacing of what jsonb refuses are those of
the running pipeline, so a repair brings nothing back that a filter takes out.
"""

from __future__ import annotations

from cht_sync import render
from cht_sync.errors import DocumentRefused
from cht_sync.pipeline.config import load
from cht_sync.pipeline.couchdb.events import USERS_DATABASE, EventShape, event_maker
from cht_sync.pipeline.couchdb.rows import Revision
from cht_sync.pipeline.couchdb.rows import Row as Change
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import PluginContext
from cht_sync.pipeline.postgrest.output import row_of
from cht_sync.pipeline.postgrest.row import Row, mended
from cht_sync.reconcile.state import State
from cht_sync.settings import Settings, file_name


class RowMaker:
    """Makes rows of one database."""

    def __init__(self, settings: Settings, database: str) -> None:
        text = render.render(settings, engine="native")[f"pipeline/{file_name(database)}.conf"]
        context = PluginContext(database, settings.data_folder)
        self._pipeline = load(text, render.variables(settings), context)
        shape = EventShape(database, keep_id=True, keep_revision=True, keep_tombstone=True)
        self._make_event = event_maker(shape, _undecorated)
        # What could not be made into an event could not be freed of secrets either.
        redacts = settings.redact_fields or settings.redact_hash_fields
        self.keeps_rejected = database != USERS_DATABASE and not redacts
        """Whether a dead letter may hold what came, where no event can be made of it: as in the pipeline."""

    def make(self, document_id: str, state: State, document: bytes) -> Row | None:
        """Return the row as jsonb can hold it; None where the filters drop the document.

        Raises DocumentRefused where no event can be made of it.
        """
        row = self.first_try(document_id, state, document)
        return None if row is None else mended(row)

    def first_try(self, document_id: str, state: State, document: bytes) -> Row | None:
        """As `make`, but as the pipeline sends it first: what PostgreSQL refuses of it may still be mended.

        Looking for all that can be replaced costs more than everything else.
        """
        change = Change(document_id, changes=[Revision(state.rev or "")], deleted=state.deleted)
        try:
            event = self._make_event(change, document)
        except ValueError as error:
            raise DocumentRefused(str(error), code="malformed") from error
        events = self._pipeline.filter([event])
        return row_of(events[0]) if events else None


def _undecorated(_event: Event) -> None:
    """No option of the rendered configuration adds anything to an event."""
