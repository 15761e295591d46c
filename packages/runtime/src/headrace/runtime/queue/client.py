"""The one place that makes Redis clients: explicit time-outs, a fixed number of connections, no hidden retries."""

from __future__ import annotations

from typing import Literal

from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from headrace.contracts.errors import ConfigError

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
MAX_CONNECTIONS = 64


def redis_client(
    url: SecretStr | str,
    *,
    kind: Literal["command", "pubsub"],
    name: str,
    answer_seconds: float = ANSWER_SECONDS,
    max_connections: int = MAX_CONNECTIONS,
) -> Redis:
    """A client that connects when it is first used.

    Nothing is sent twice by the client itself: a stalled server would do both, so one claim would take two sets of
    ids. Our own scripts are safe to repeat; the caller decides when.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        kind: `pubsub` waits for messages without an end; `command` gives up after `answer_seconds`.
        name: Shown by `CLIENT LIST`.
        answer_seconds: How long one answer may take.
        max_connections: A caller that finds them all in use waits `answer_seconds` for one.

    Raises:
        ConfigError: Not a Redis URL. The message does not repeat it, since it may hold a password.
    """
    text = url.get_secret_value() if isinstance(url, SecretStr) else url
    try:
        pool = BlockingConnectionPool.from_url(
            text,
            max_connections=max_connections,
            timeout=answer_seconds,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=answer_seconds if kind == "command" else None,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            client_name=name,
            protocol=3,
            decode_responses=True,
            # Foreign bytes in a key must not break the reading of an answer; this form goes back to Redis unchanged.
            encoding_errors="surrogateescape",
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    except ValueError as error:
        raise ConfigError(
            "JOB_REDIS_URL must be redis://, rediss:// or unix:// with a valid host, port and database"
        ) from error
    return Redis.from_pool(pool)
