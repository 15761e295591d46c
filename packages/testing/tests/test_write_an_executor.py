"""The page on executors is true: its code runs, its tests pass, and its failure is the one it shows."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

from headrace.contracts.executor import ENTRY_POINT_GROUP, JobExecutor
from headrace.testing.kills import run_with_kills
from headrace.testing.kit import ExecutorKit

PAGE = (Path(__file__).parents[3] / "docs" / "write-an-executor.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The page's Python as one module, as a reader would put it into a file."""
    file = tmp_path_factory.mktemp("page") / "my_executors.py"
    file.write_text("\n\n".join(blocks("python")), encoding="utf-8")
    spec = util.spec_from_file_location("my_executors", file)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules["my_executors"] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["my_executors"]


def test_the_tests_of_the_page_pass(page: ModuleType) -> None:
    tests = [value for name, value in vars(page).items() if name.startswith("test_")]
    assert len(tests) == PAGE.count("\ndef test_") == 3
    for test in tests:
        test()


def test_the_entry_point_names_the_class_of_its_job_type(page: ModuleType) -> None:
    (text,) = blocks("toml")
    points = tomllib.loads(text)["project"]["entry-points"]
    assert list(points) == [ENTRY_POINT_GROUP]
    for name, value in points[ENTRY_POINT_GROUP].items():
        module, _, attribute = value.partition(":")
        executor = getattr(page, attribute)
        assert (module, executor.job_type) == (page.__name__, name)


async def test_every_executor_of_the_page_runs(page: ModuleType) -> None:
    assert (await ExecutorKit(page.Greet).run({"name": "Ada"})).result == "Hello, Ada"
    assert (await run_with_kills(page.Countdown, {"name": "Ada"})).uninterrupted.result == "Goodbye, Ada"
    executors = [value for value in vars(page).values() if isinstance(value, type) and issubclass(value, JobExecutor)]
    assert {item.__name__ for item in executors} == {"JobExecutor", "Greet", "Countdown", "Sum", "Forgetful"}


async def test_the_failure_of_the_page_is_what_its_executor_gives(page: ModuleType) -> None:
    (shown,) = blocks("text")
    with pytest.raises(AssertionError) as failed:
        await run_with_kills(page.Forgetful, {"up_to": 4})
    assert f"AssertionError: {failed.value}\n" == shown
