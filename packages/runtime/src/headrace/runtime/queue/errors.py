"""Redis' errors in our words. Nothing of the driver leaves `headrace.runtime.queue`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions as driver

from headrace.contracts.errors import StoreUnavailableError

_BY_CLASS: tuple[tuple[type[Exception], str], ...] = (
    (driver.AuthenticationError, "Redis refuses the user name or password"),
    (driver.AuthorizationError, "Redis refuses the user name or password"),
    (driver.NoPermissionError, "the Redis user may not do this"),
    (driver.BusyLoadingError, "Redis is still loading its data"),
    (driver.OutOfMemoryError, "Redis is full: it refuses writes at maxmemory"),
    (driver.ReadOnlyError, "this Redis is a read-only replica"),
    (driver.MaxConnectionsError, "every connection to Redis is in use"),
    (driver.TimeoutError, "Redis did not answer in time"),
    (driver.ConnectionError, "no connection to Redis"),
    (driver.InvalidResponse, "Redis answered something that is not its protocol"),
)

_BY_WORD: tuple[tuple[str, str], ...] = (
    ("OOM", "Redis is full: it refuses writes at maxmemory"),
    ("WRONGTYPE", "a Redis key has the wrong type"),
    ("NOAUTH", "Redis wants a password"),
    ("WRONGPASS", "Redis refuses the user name or password"),
    ("NOPERM", "the Redis user may not do this"),
    ("MISCONF", "Redis cannot save to its disk and refuses writes"),
    ("MASTERDOWN", "this Redis replica has lost its primary"),
    ("BUSY", "Redis is busy with a script"),
    ("LOADING", "Redis is still loading its data"),
    ("NOSCRIPT", "Redis forgot a script twice in a row"),
)


@contextmanager
def translate() -> Iterator[None]:
    """Turn what the driver raises into `StoreUnavailableError`, with a short reason and without the driver's text.

    A time-out means "unknown": a stalled server may still do what it was asked.
    """
    try:
        yield
    except (driver.RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailableError(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """Why Redis failed, in a few words that are safe to show: no addresses, no data."""
    text = str(error)
    if "HEADRACE" in text:
        # Raised by our own scripts: "HEADRACE <sentence>." with the server's source note behind it.
        return text.split("HEADRACE", 1)[1].split(" script:", 1)[0].strip()
    for kind, reason in _BY_CLASS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, driver.ResponseError):
        for word, reason in _BY_WORD:
            if text.startswith(word):
                return reason
        return "Redis refuses a command"
    return "Redis did not answer in time" if isinstance(error, TimeoutError) else "no connection to Redis"
