"""Where the server is and who asks, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.contracts.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True)
class Access:
    """A scheduler's address and the token for it."""

    url: str = DEFAULT_URL
    token: str | None = field(default=None, repr=False)


def read_access(environment: Mapping[str, str] | None = None) -> Access:
    """Read `HEADRACE_URL`, and `HEADRACE_TOKEN` or the file that `HEADRACE_TOKEN_FILE` names.

    Args:
        environment: Read instead of this process's own.

    Raises:
        ConfigError: Both token names are set, or the file cannot be read. The message never holds a token.
    """
    found = os.environ if environment is None else environment
    token, file = found.get("HEADRACE_TOKEN") or None, found.get("HEADRACE_TOKEN_FILE") or None
    if token and file:
        raise ConfigError("HEADRACE_TOKEN and HEADRACE_TOKEN_FILE exclude each other: unset one")
    if file:
        try:
            token = Path(file).read_text(encoding="utf-8").strip() or None
        except OSError as error:
            raise ConfigError(f"HEADRACE_TOKEN_FILE cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError("HEADRACE_TOKEN_FILE must be text in UTF-8") from None
    return Access(url=found.get("HEADRACE_URL") or DEFAULT_URL, token=token)
