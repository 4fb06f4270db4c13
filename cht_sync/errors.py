"""Every error that cht-sync raises on purpose, and what each asks of the code above it.

::

    ChtSyncError                  shown as one line and a hint; exit code 1
    ├── SettingsError             refused before anything is started; exit code 2
    ├── ConfigError               a pipeline configuration is refused: file, line, column
    ├── ServiceError              a service could not start: its name, the last lines of its log
    ├── DeadLettersFull           no room for what was refused for good: the pipeline stops, tried again later
    ├── SourceError               reading the feed failed
    │   ├── SourceUnavailable     retry with back-off
    │   │   └── PositionNotKept     the disk refuses: the pipeline stops, tried again later
    │   ├── OperatorNeeded        stop reading, say so, look again: only an operator knows how to go on
    │   └── LoginRefused          pause for minutes: six wrong logins lock the account
    └── DeliveryError             writing a batch failed
        ├── DestinationUnavailable  retry with back-off
        │   ├── StatementTimeout    retry with half the batch
        │   └── InternalFailure     the same; of one large document alone, the document's fault
        ├── DocumentRefused         the document's fault: split the batch, dead-letter the one document
        ├── DestinationMisconfigured  wait and say so loudly; dead-letter nothing
        └── Superseded              another writer holds the source: stop writing

The class decides what happens next; nobody looks into the text.
"""

from __future__ import annotations

from collections.abc import Sequence


class ChtSyncError(Exception):
    """What failed and where, in one line; `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


def sentences(error: Exception) -> str:
    """Return what failed and what to do next, as sentences of one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    hint = error.hint if isinstance(error, ChtSyncError) else None
    return f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} {hint}" if hint else text


class SettingsError(ChtSyncError):
    """Settings or options that cannot be used; carries one line per problem."""

    exit_code = 2

    def __init__(self, problems: Sequence[str], *, hint: str | None = None) -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = tuple(problems)


class ConfigError(ChtSyncError):
    """A pipeline configuration that is refused at start.

    `line` and `column` count from 1; 0 means that no place can be named.
    """

    def __init__(
        self, message: str, *, path: str = "", line: int = 0, column: int = 0, hint: str | None = None
    ) -> None:
        place = ":".join(str(part) for part in (path, line, column) if part)
        super().__init__(f"{place}: {message}" if place else message, hint=hint)
        self.reason = message
        self.path = path
        self.line = line
        self.column = column


class ServiceError(ChtSyncError):
    """A service that did not become ready, or ended; `log_tail` holds its last lines."""

    def __init__(
        self, service: str, message: str, *, log_tail: Sequence[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(f"{service}: {message}", hint=hint)
        self.service = service
        self.log_tail = tuple(log_tail)


class DeadLettersFull(ChtSyncError):
    """A dead letter has no place to go; going on would lose it."""


class SourceError(ChtSyncError):
    """Reading the feed failed."""


class SourceUnavailable(SourceError):
    """The source did not answer, or not as a source does; the same request may succeed later.

    `pause` is the seconds for which it asks to be left alone, 0 where it does not.
    """

    def __init__(self, message: str, *, hint: str | None = None, pause: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.pause = pause


class PositionNotKept(SourceUnavailable):
    """Where the input has come to cannot be kept, or read: going on would deliver it twice, or lose it."""


class OperatorNeeded(SourceError):
    """The saved position does not fit what is there; `hint` names the ways on, one of which is asked for."""


class LoginRefused(SourceError):
    """The source refused the login; trying again quickly would lock the account."""


class DeliveryError(ChtSyncError):
    """Writing a batch failed. `code` is the SQLSTATE or PostgREST code, or "HTTP <status>".

    `pause` is the seconds for which the destination asks to be left alone, 0 where it does not.
    """

    def __init__(self, message: str, *, code: str = "", hint: str | None = None, pause: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.pause = pause


class DestinationUnavailable(DeliveryError):
    """The destination cannot write now; the same batch may succeed later."""


class StatementTimeout(DestinationUnavailable):
    """The batch took too long; half of it may succeed."""


class InternalFailure(DestinationUnavailable):
    """PostgreSQL failed inside (SQLSTATE XX000), as it does where a document needs a gigabyte at once."""


class DocumentRefused(DeliveryError):
    """At least one document of the batch can never be stored as it is."""


class DestinationMisconfigured(DeliveryError):
    """The destination refuses for a reason that an operator must mend."""


class Superseded(DeliveryError):
    """Another writer has taken over this source (SQLSTATE PT409)."""
