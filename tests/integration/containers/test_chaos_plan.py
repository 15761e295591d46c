"""What the container `chaos` does, without a container: plans that a seed makes, and faults that are over in time."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from headrace.testing.eventually import eventually

from .engine import ROOT


def load(name: str, file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / file)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def proxy() -> Iterator[ModuleType]:
    yield load("proxy", "tests/chaos/proxy.py")  # as it lies beside the other in the image
    del sys.modules["proxy"]


@pytest.fixture(scope="module")
def chaos(proxy: ModuleType) -> ModuleType:
    return load("compose_chaos", "deploy/compose/chaos/chaos.py")


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_is_the_seeds_and_ends_in_time(chaos: ModuleType, seed: int) -> None:
    plan = chaos.make_plan(seed, 60)
    assert plan == chaos.make_plan(seed, 60) != chaos.make_plan(seed + 1, 60)
    assert len(plan) >= 8
    assert all(fault.at + fault.lasts <= 60 for fault in plan)
    assert all(one.at + one.lasts < other.at for one, other in itertools.pairwise(plan))


@pytest.mark.parametrize("kind", ["slow", "hold", "swallow-replies", "cut", "reset"])
async def test_a_fault_is_felt_while_it_lasts_and_not_afterwards(
    chaos: ModuleType, proxy: ModuleType, kind: str
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data * 60)
        writer.close()

    async def ask() -> int:
        """How much comes back within a moment; a link that is cut gives what came before."""
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        try:
            writer.write(b"hello")
            await asyncio.sleep(0.05)
            async with asyncio.timeout(0.05):
                return len(await reader.readexactly(300))
        except (OSError, asyncio.IncompleteReadError):
            return 0
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    link = proxy.Link("redis", server.sockets[0].getsockname()[1])
    await link.start()
    try:
        assert await ask() == 300
        plan = [chaos.Fault(at=0.0, lasts=0.0 if kind == "reset" else 0.4, store="redis", kind=kind)]
        await eventually(lambda: not link.is_used)
        held = await asyncio.open_connection("127.0.0.1", link.port)
        await eventually(lambda: link.is_used)
        working = asyncio.create_task(chaos.disturb({"redis": link}, plan))
        await asyncio.sleep(0.1)
        if kind == "reset":
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(held[0].read(1), 5)
        else:
            assert await ask() == 0
        assert await working == 1
        assert await ask() == 300
        held[1].transport.abort()
    finally:
        await link.close()
        server.close()


async def test_a_fault_that_nobody_felt_is_not_counted(chaos: ModuleType, proxy: ModuleType) -> None:
    link = proxy.Link("mongo", 1)
    await link.start()
    try:
        assert await chaos.disturb({"mongo": link}, [chaos.Fault(0.0, 0.01, "mongo", "hold")]) == 0
    finally:
        await link.close()
