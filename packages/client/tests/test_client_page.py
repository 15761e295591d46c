"""The page on the client is true: its code runs against real services."""

from __future__ import annotations

import inspect
import re
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.client import Client, SyncClient

PAGE = (Path(__file__).parents[3] / "docs" / "client.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page() -> Any:
    """The page's Python as one module."""
    code = "\n\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    names: dict[str, Any] = {"__name__": "client_page"}
    exec(compile(code, "docs/client.md", "exec"), names)
    return SimpleNamespace(**names)


def test_every_method_stands_in_the_table_and_no_other() -> None:
    table = PAGE.split("| to | call |")[1].split("\n\n")[0]
    methods = {name for name, value in vars(SyncClient).items() if inspect.isfunction(value) and name[0] != "_"}
    assert set(re.findall(r"`(\w+)`", table)) == methods


async def test_its_first_examples_have_jobs_done(page: Any, services: Any) -> None:
    assert await page.say_hello(services.url) == "completed"


def test_its_blocking_example_has_a_job_done(page: Any, services: Any) -> None:
    assert page.say_hello_blocking(services.url) == "completed"


async def test_its_batch_is_the_same_jobs_when_it_is_sent_again(page: Any, services: Any) -> None:
    notes = [uuid.uuid4().hex for _ in range(5)]
    async with Client(services.url) as client:
        kept, left = await page.submit_all(client, notes)
        assert (len(kept), left) == (5, [])
        assert await page.submit_all(client, notes) == (kept, left)


async def test_its_errors_are_told_apart(page: Any, services: Any, unused_tcp_port: int) -> None:
    async with Client(services.url) as client:
        job_id = await page.submit_or_explain(client, {})
        assert await page.submit_or_explain(client, {}) == f"job {job_id} has this key"
        assert "/payload" in await page.submit_or_explain(client, {"no": 1})
        await client.cancel(job_id)
    async with Client(f"http://127.0.0.1:{unused_tcp_port}", tries=1) as client:
        assert (await page.submit_or_explain(client, {})).startswith("not-reachable")


async def test_its_watcher_sees_the_end_and_its_operator_replays_what_failed(page: Any, services: Any) -> None:
    async with Client(services.url) as client:
        job = await client.submit("test.fail", {"how": "permanent", "message": "of the page"})
        seen = await page.watch(client, job.id)
        assert (seen[0], seen[-1]) == ("job.snapshot", "job.failed")
        assert await page.replay_what_was_lost(client) >= 1
        await client.discard_dead_letters()
