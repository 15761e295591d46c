"""The whole system behind the browser: started on a loop of its own thread, because Playwright has this one."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from headrace.contracts.config import JobConfig
from headrace.local.system import LocalSystem
from headrace.runtime.store.database import Database
from headrace.runtime.web.auth import hash_token

T = TypeVar("T")

TOKENS = {
    "olga": ("operate-token-of-olga", ["read", "submit", "operate"], None),
    "rita": ("read-token-of-rita", ["read"], None),
    "anna": ("admin-token-of-anna", ["admin"], None),
    "acme": ("read-token-of-acme", ["read", "submit"], "acme"),
}
SETTINGS = {
    "JOB_TEST_MODE": "1",
    "JOB_WORKER_HEARTBEAT_SECONDS": "1",
    "JOB_LEASE_SECONDS": "10",
    "JOB_RECOVERY_INTERVAL_SECONDS": "5",
    "JOB_SHUTDOWN_GRACE_SECONDS": "2",
    "JOB_MAX_WORKERS": "6",
    "JOB_REDACT_KEYS": "pin",
}


PATIENCE_SECONDS = 60.0
"""How long anything may take on a busy machine. Nothing here is measured; a test that passes waits for none of it."""


class Stack:
    """A running system, used from plain code."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        tokens = folder / "tokens.toml"
        tokens.write_text(
            "\n".join(
                f'[{name}]\nhash = "{hash_token(text)}"\nscopes = {json.dumps(scopes)}'
                + (f'\ntenant = "{tenant}"' if tenant else "")
                for name, (text, scopes, tenant) in TOKENS.items()
            )
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stack", daemon=True)
        self._thread.start()
        self.system = LocalSystem(settings={**SETTINGS, "JOB_API_TOKENS_FILE": str(tokens), **settings})
        self.run(self.system.start())
        config = JobConfig(redis_url=SecretStr(self.system.redis.url), mongo_url=SecretStr(self.system.mongo.url))
        self.database = self.call(lambda: Database(config, appname="e2e"))

    @property
    def monitor(self) -> str:
        """Where the pages are."""
        return self.system.urls["monitor"]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the system's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=3 * PATIENCE_SECONDS)

    def call(self, work: Callable[[], T]) -> T:
        """Call a plain function on the system's loop."""

        async def run() -> T:
            return work()

        return self.run(run())

    def api(self, method: str, path: str, body: Any = None, *, token: str = "anna") -> Any:
        """Ask the scheduler; returns what it answered, whatever the status."""
        request = urllib.request.Request(
            self.system.urls["scheduler"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKENS[token][0]}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())

    def submit(self, type_: str, payload: Any = None, *, token: str = "anna", **fields: Any) -> str:
        """Submit a job; returns its id."""
        told = self.api("POST", "/v1/jobs", {"type": type_, "payload": payload or {}, **fields}, token=token)
        assert "id" in told, told
        return str(told["id"])

    def job(self, job_id: str) -> Any:
        """A job as the scheduler shows it."""
        return self.api("GET", f"/v1/jobs/{job_id}")

    def until(self, probe: Callable[[], Any], *, within: float = PATIENCE_SECONDS, what: str = "it") -> Any:
        """Wait until something holds."""
        deadline = time.monotonic() + within
        while True:
            found = probe()
            if found:
                return found
            assert time.monotonic() < deadline, f"{what} did not happen within {within} s"
            time.sleep(0.05)

    def until_state(self, job_id: str, state: str, *, within: float = PATIENCE_SECONDS) -> None:
        """Wait for a state."""
        self.until(lambda: self.job(job_id)["state"] == state, within=within, what=f"{job_id} is {state}")

    def close(self) -> None:
        """Stop everything."""
        self.call(self.database.close)
        self.run(self.system.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()


@contextmanager
def running_stack(folder: Path, **settings: str) -> Iterator[Stack]:
    """A system, stopped afterwards; its logs are shown when something went wrong."""
    stack = Stack(folder, settings)
    try:
        yield stack
    except BaseException:
        for log in sorted((stack.system.folder / "logs").glob("*.log")):
            print(f"----- {log.name}\n{log.read_text(errors='replace')[-3000:]}")
        raise
    finally:
        stack.close()
