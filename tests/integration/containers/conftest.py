"""Tests with the marker `containers` run only where they are asked for: `pytest -m containers`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from headrace.client import Client

from .composed import Stack, composed, write_site
from .engine import Images, built_images, require_engine
from .system import System, owned
from .truth import Jobs


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave them out of a plain `pytest`: they build images and take minutes."""
    if "containers" in str(config.option.markexpr):
        return
    left_out = [item for item in items if item.get_closest_marker("containers")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """The images of this tree."""
    require_engine()
    with built_images() as images:
        yield images


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The system of docker-compose.yml."""
    require_engine()
    with composed(write_site(tmp_path_factory.mktemp("site"))) as stack:
        yield stack


@pytest.fixture(scope="session")
def one_system(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The system that the tests share: its start takes longer than most of them."""
    with System(images, owned(tmp_path_factory.mktemp("system"))) as system:
        yield system


@pytest.fixture
def system(one_system: System) -> System:
    """The shared system, whole, whatever the test before did to it."""
    one_system.heal()
    return one_system


@pytest.fixture
async def client(system: System) -> AsyncIterator[Client]:
    """A client of the first scheduler."""
    async with system.client() as client:
        yield client


@pytest.fixture
def jobs(system: System) -> Jobs:
    """The jobs of this test."""
    return Jobs(system)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the images weigh and how long they take, as rows for the page on operations."""
    rows = [
        str(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "figures" and report.when == "call"
    ]
    if rows:
        terminalreporter.section("images")
        terminalreporter.line("| image | MB | of it ours | seconds from start to ready | seconds from SIGTERM to end |")
        terminalreporter.line("| --- | ---: | ---: | ---: | ---: |")
        for row in sorted(rows):
            terminalreporter.line(row)
