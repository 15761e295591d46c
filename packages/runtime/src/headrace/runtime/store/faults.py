"""Driver errors become ours here, and every call gets a time limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pymongo
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

from headrace.contracts.errors import OutcomeUnknownError, StoreUnavailableError

READ_SECONDS = 5.0
WRITE_SECONDS = 10.0
"""The limit travels to the server with each operation, so a write given up here is not begun there later than this."""

# The codes a server answers while it steps down, shuts down or recovers; the write may have been applied before.
_UNAVAILABLE_CODES = frozenset({6, 7, 50, 64, 89, 91, 100, 189, 202, 262, 9001, 10107, 11600, 11602, 13435, 13436})

# Around an election pymongo 4.20 may begin a cursor without a session and continue it in one, or the other way round,
# and the server refuses (mongodb/mongo-python-driver#2794). The read is to be done again.
_TORN_CURSOR_CODES = frozenset({50736, 50737, 50738})


def _is_unavailable(error: PyMongoError) -> bool:
    if isinstance(error, ConnectionFailure | ExecutionTimeout | NotPrimaryError | WriteConcernError | WTimeoutError):
        return True
    if error.timeout:
        return True
    return isinstance(error, OperationFailure) and error.code in _UNAVAILABLE_CODES | _TORN_CURSOR_CODES


def _bulk_is_unavailable(error: BulkWriteError) -> bool:
    # Only a failed majority wait makes a whole bulk uncertain; per-item errors are definite answers.
    return bool((error.details or {}).get("writeConcernErrors"))


@contextmanager
def reading(what: str, *, seconds: float = READ_SECONDS) -> Iterator[None]:
    """Bound a read and translate its failure.

    Raises:
        StoreUnavailableError: MongoDB did not answer; nothing was changed.
    """
    try:
        with pymongo.timeout(seconds):
            yield
    except PyMongoError as error:
        if _is_unavailable(error):
            raise StoreUnavailableError(f"MongoDB does not answer ({what})", retry_after_seconds=2) from None
        raise


@contextmanager
def writing(what: str, *, seconds: float = WRITE_SECONDS) -> Iterator[None]:
    """Bound a write and translate its failure. Duplicate keys and other definite refusals pass unchanged.

    Raises:
        StoreUnavailableError: No server was found; the write was not sent.
        OutcomeUnknownError: The write was sent; whether it was applied is not known.
    """
    try:
        with pymongo.timeout(seconds):
            yield
    except ServerSelectionTimeoutError:
        # The driver raises the first error instead when it had sent the write before, so nothing was sent here.
        raise StoreUnavailableError(f"MongoDB does not answer ({what})", retry_after_seconds=2) from None
    except BulkWriteError as error:
        if _bulk_is_unavailable(error):
            raise OutcomeUnknownError(f"MongoDB did not confirm ({what})", retry_after_seconds=2) from None
        raise
    except DuplicateKeyError:
        raise
    except PyMongoError as error:
        if _is_unavailable(error):
            raise OutcomeUnknownError(f"MongoDB did not confirm ({what})", retry_after_seconds=2) from None
        raise
