"""The asynchronous client."""

from __future__ import annotations

from typing import Self

from headrace.client.environment import read_access
from headrace.client.jobs import JobCalls
from headrace.client.operate import OperatorCalls
from headrace.client.streams import StreamCalls
from headrace.client.transport import Transport


class Client(JobCalls, StreamCalls, OperatorCalls):
    """Talks to a scheduler. Use it as `async with Client(url) as client`, in one event loop.

    429 and 503 are tried again a bounded number of times, after `Retry-After` if the server says one; so are requests
    that got no answer. That is safe: a submission carries one `Idempotency-Key` through all its tries, and everything
    else may be done twice. Connections are kept and used again.

    Args:
        base_url: Where the scheduler answers, such as `http://127.0.0.1:8080`.
        token: The bearer token, where the server wants one.
        tries: How often one request is sent at most.
        timeout_seconds: For one try.
        patience_seconds: How long `wait`, `follow` and `events` put up with a server that went away.
        connections: Open at once for requests.

    Every method raises the exceptions of `headrace.contracts.errors` by the server's problem code, which is their
    `code`, and `NotReachableError` when no try got an answer.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        tries: int = 5,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 60.0,
        connections: int = 100,
    ) -> None:
        transport = Transport(
            base_url, token=token, tries=tries, timeout_seconds=timeout_seconds, connections=connections
        )
        super().__init__(transport, patience_seconds=patience_seconds)

    @classmethod
    def from_environment(cls) -> Self:
        """A client by `HEADRACE_URL` and `HEADRACE_TOKEN` (or the file that `HEADRACE_TOKEN_FILE` names).

        Without an address it is `http://127.0.0.1:8080`.

        Raises:
            ConfigError: One of them is wrong.
        """
        access = read_access()
        return cls(access.url, access.token)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.__aexit__()
