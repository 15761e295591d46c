"""A change of code restarts the services that run it, in order, and nothing else; broken code waits for its mending."""

from __future__ import annotations

import asyncio
import contextlib
import io
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.console import Console

from headrace.local import reload
from headrace.local.ports import free_port
from headrace.local.service import ServiceFailedError, ServiceSpec
from headrace.local.system import LocalSystem
from headrace.testing.eventually import eventually

STAND_IN = Path(__file__).with_name("stand_in.py")
NAMES = ("scheduler", "worker")


class Stack:
    """Two stand-ins, each running a file of its own; a file beside them is run by both."""

    def __init__(self, folder: Path) -> None:
        self.code = {name: folder / name / "main.py" for name in NAMES}
        for file in self.code.values():
            file.parent.mkdir()
            shutil.copy(STAND_IN, file)
        self.shared = folder / "shared.py"
        self.shared.touch()
        self.said = io.StringIO()
        self.system = LocalSystem(
            services=[ServiceSpec(name, free_port(), (sys.executable, str(self.code[name]), name)) for name in NAMES]
        )
        self.places = {file.parent: frozenset({name}) for name, file in self.code.items()}
        self.places[self.shared] = frozenset(NAMES)

    def pids(self) -> dict[str, int]:
        return {name: service.pid for name, service in self.system.services.items()}

    async def ready_again(self, times: int) -> None:
        await eventually(lambda: self.said.getvalue().count("Ready after") == times, within=30, what="ready again")


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    stack = Stack(tmp_path)
    await stack.system.start()
    task = asyncio.create_task(
        reload.run_reloading(stack.system, Console(file=stack.said, width=200), stack.places), name="reload"
    )
    await eventually(lambda: "Following" in stack.said.getvalue(), within=10, what="the code is followed")
    try:
        yield stack
        assert not task.done(), task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ServiceFailedError):
            await task
        stack.system.hurry()
        await stack.system.stop()


@pytest.mark.slow
async def test_only_the_service_whose_code_changed_is_restarted_and_broken_code_waits(stack: Stack) -> None:
    first = stack.pids()
    code = stack.code["worker"].read_text()
    stack.code["worker"].write_text(code + "\n# a change\n")
    await stack.ready_again(1)
    second = stack.pids()
    assert (second["scheduler"], second["worker"] != first["worker"]) == (first["scheduler"], True)
    assert "main.py changed: restarting worker" in stack.said.getvalue()
    assert "stopped in order" in (stack.system.folder / "logs" / "worker.log").read_text()

    stack.code["worker"].write_text("this is no Python\n")
    await eventually(lambda: "It is started again when" in stack.said.getvalue(), within=30, what="the failure is told")
    assert "SyntaxError" in stack.said.getvalue()
    stack.code["worker"].write_text(code)
    await stack.ready_again(2)
    assert stack.pids()["scheduler"] == first["scheduler"]

    stack.shared.write_text("# both run this")
    await stack.ready_again(3)
    assert stack.pids()["scheduler"] != first["scheduler"]
    assert stack.said.getvalue().count("It is started again") == 1


def test_the_code_of_a_service_is_its_own_and_shared_code_is_everybodys() -> None:
    places = {tuple(place.parts[-2:]): names for place, names in reload.watched().items()}
    everyone = frozenset({"scheduler", "worker", "recovery", "monitor"})
    assert places["headrace", "contracts"] == places["headrace", "runtime"] == everyone
    assert {name: places["headrace", name] for name in everyone} == {name: frozenset({name}) for name in everyone}


def test_what_python_compiles_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    places = {tmp_path: frozenset({"worker"})}
    (tmp_path / "a.py").touch()
    before = reload.look(places)
    (tmp_path / "__pycache__" / "a.pyc").touch()
    assert reload.look(places) == before
    (tmp_path / "a.py").write_text("1")
    assert reload.look(places) != before
