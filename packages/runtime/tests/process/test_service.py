from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

SCRIPT = Path(__file__).with_name("service_under_test.py")


class Service:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict] = []

    async def until(self, event: str) -> dict:
        assert self.process.stderr is not None
        while line := await asyncio.wait_for(self.process.stderr.readline(), timeout=20):
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event:
                return self.events[-1]
        raise AssertionError(f"no {event}; saw {self.events}")

    async def ended(self) -> tuple[int, str, str]:
        out, err = await asyncio.wait_for(self.process.communicate(), timeout=20)
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def running(mode: str = "", **environment: str) -> AsyncIterator[Service]:
    names = {name: value for name, value in os.environ.items() if not name.startswith("JOB_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        env=names | {"MODE": mode} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Service(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(("mode", "number"), [("", signal.SIGTERM), ("later", signal.SIGINT)])
async def test_a_signal_drains_while_readyz_says_so_and_the_exit_is_clean(mode, number):
    async with running(mode) as service, aiohttp.ClientSession() as client:
        listening = await service.until("service.listening")
        assert (await service.until("service.ready"))["url"] == listening["url"]
        async with client.get(listening["url"] + "/readyz") as answer:
            assert answer.status == 200
        service.process.send_signal(number)
        await service.until("service.stopping")
        async with client.get(listening["url"] + "/readyz") as answer:
            assert answer.status == 503
            assert (await answer.json())["status"] == "draining"
        async with client.get(listening["url"] + "/healthz") as answer:
            assert answer.status == 200
        code, out, _ = await service.ended()
    assert (code, out.split()) == (0, ["opened", "draining", "drained", "closed"])


async def test_a_second_signal_cuts_the_drain_short():
    async with running("long-drain") as service:
        await service.until("service.ready")
        service.process.send_signal(signal.SIGTERM)
        await service.until("service.stopping")
        service.process.send_signal(signal.SIGTERM)
        await service.until("service.drain_cut_short")
        code, out, _ = await service.ended()
    assert (code, out.split()) == (0, ["opened", "draining", "closed"])


async def test_the_grace_bounds_the_drain():
    async with running("long-drain", JOB_SHUTDOWN_GRACE_SECONDS="0.2") as service:
        await service.until("service.ready")
        service.process.send_signal(signal.SIGTERM)
        await service.until("service.grace_over")
        assert (await service.ended())[0] == 0


async def test_a_drain_that_fails_is_told_and_the_rest_goes_on():
    async with running("broken-drain") as service:
        await service.until("service.ready")
        service.process.send_signal(signal.SIGTERM)
        await service.until("service.drain_failed")
        code, out, _ = await service.ended()
    assert (code, out.split()[-1]) == (0, "closed")


async def test_a_service_without_a_drain_just_stops():
    async with running("no-drain", JOB_LOG_FORMAT="console") as service:
        assert service.process.stderr is not None
        while b"service.ready" not in await service.process.stderr.readline():
            pass
        service.process.send_signal(signal.SIGINT)
        assert (await service.ended())[0] == 0


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"JOB_MAX_WORKERS": "many"}, "JOB_MAX_WORKERS"),
        ({"JOB_MAX_WORKRS": "3"}, "did you mean JOB_MAX_WORKERS"),
        ({"JOB_HTTP_HOST": "0.0.0.0"}, "headrace token new"),
        ({"JOB_API_TOKENS_FILE": "no/such/file"}, "JOB_API_TOKENS_FILE cannot be read"),
        ({"JOB_FAILPOINTS": "a=explode", "JOB_TEST_MODE": "1"}, "JOB_FAILPOINTS"),
        ({"MODE": "bad-start"}, "the server evicts keys"),
    ],
)
async def test_a_wrong_setting_is_one_line_and_code_two(environment, words):
    async with running(**environment) as service:
        code, _, err = await service.ended()
    last = err.splitlines()[-1]
    assert code == 2
    assert last.startswith("headrace-sample: ")
    assert words in last
    assert "Traceback" not in err


async def test_a_port_in_use_is_one_line_and_code_two():
    async with running() as first:
        port = (await first.until("service.ready"))["url"].rpartition(":")[2]
        async with running(JOB_HTTP_PORT=port) as second:
            code, out, err = await second.ended()
    assert (code, out) == (2, "")
    assert err == f"headrace-sample: port {port} on 127.0.0.1 is in use; stop what listens there or set JOB_HTTP_PORT\n"


async def test_a_bug_at_the_start_is_logged_and_code_one():
    async with running("broken-start") as service:
        failed = await service.until("service.failed")
        assert "RuntimeError: a bug" in failed["exception"]
        assert (await service.ended())[0] == 1


async def test_foreign_names_of_a_ci_system_are_a_warning_only():
    async with running(JOB_URL_OF_THE_BUILD="x") as service:
        assert (await service.until("config.unknown_names"))["names"] == ["JOB_URL_OF_THE_BUILD"]
        await service.until("service.ready")
