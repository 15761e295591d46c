"""Names that are made here and never used again."""

from __future__ import annotations

import secrets

import uuid_utils


def new_job_id() -> str:
    """A UUIDv7 as text: sorts by the time it was made.

    Ids of one process rise strictly, also within a millisecond. Between processes the order is only as good as their
    clocks, so nothing may depend on it but the reading order of lists.
    """
    return str(uuid_utils.uuid7())


def new_incarnation() -> str:
    """The id of one start of one worker child: `w-` and 16 hex digits, random."""
    return "w-" + secrets.token_hex(8)


def new_token() -> str:
    """A random name of 32 hex digits for one request to a store, so that its repeat is known as a repeat."""
    return secrets.token_hex(16)
