"""Executors by entry point: what is found, and what is said when one is unusable."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest
from worker_plugins import write_plugin

from headrace.contracts.errors import ConfigError
from headrace.worker.registry import TEST_GROUP, load_executors


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> str:
    """A distribution name of this test's own: modules are imported once per process."""
    return f"plug{uuid.uuid4().hex[:8]}"


def test_the_own_executors_are_found_and_those_for_tests_only_in_test_mode() -> None:
    assert {"crawl", "noop"} <= set(load_executors())
    assert not any(found.startswith("test.") for found in load_executors())
    assert {"noop", "test.sleep", "test.die"} <= set(load_executors(test_mode=True))


def test_a_child_imports_no_more_than_its_own_types(folder: Path, name: str) -> None:
    write_plugin(folder, "raise RuntimeError('imported')", {"broken": "Good"}, name=name)
    assert set(load_executors(test_mode=True, only=["noop", "test.fail"])) == {"noop", "test.fail"}


def test_a_plug_in_is_found(folder: Path, name: str) -> None:
    write_plugin(folder, "", {"good": "Good"}, name=name)
    assert load_executors()["good"].__module__ == f"{name}_module"


CASES = {
    "fails at import": ("1 / 0", "Good", "cannot be imported: ZeroDivisionError: division by zero"),
    "lacks a dependency": ("import no_such_module_anywhere", "Good", "cannot be imported: ModuleNotFoundError"),
    "ends the process": ("raise SystemExit(0)", "Good", "cannot be imported: SystemExit"),
    "is not there": ("", "Nothing", "cannot be imported: AttributeError"),
    "is a function": ("def f(): pass", "f", "is not a JobExecutor class"),
    "is an instance": ("instance = Good()", "instance", "is not a JobExecutor class"),
    "is another class": ("class C: job_type = 'good'", "C", "is not a JobExecutor class"),
    "has another name": ("class C(Good): job_type = 'other'", "C", "says its job_type is 'other'"),
    "has no name": (
        "class C(JobExecutor):\n  payload_model = Payload\n  def execute(self, context, payload): pass",
        "C",
        "says its job_type is None",
    ),
    "has no execute": ("class C(JobExecutor):\n  job_type = 'good'\n  payload_model = Payload", "C", "no execute"),
    "has no payload model": (
        "class C(JobExecutor):\n  job_type = 'good'\n  def execute(self, context, payload): pass",
        "C",
        "has no payload_model",
    ),
    "has no usable version": ("class C(Good): contract_version = 0", "C", "has contract_version 0"),
    "has a payload model that is none": ("class C(Good): payload_model = dict", "C", "has no payload_model"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_unusable_executor_is_named_with_its_reason(folder: Path, name: str, case: str) -> None:
    source, attribute, reason = CASES[case]
    write_plugin(folder, source, {"good": attribute}, name=name)
    with pytest.raises(ConfigError) as caught:
        load_executors()
    assert "'good'" in str(caught.value)
    assert f"{name}_module:{attribute}" in str(caught.value)
    assert reason in str(caught.value)


def test_two_executors_for_one_type_are_refused(folder: Path, name: str) -> None:
    write_plugin(folder, "", {"good": "Good"}, name=name)
    write_plugin(folder, "", {"good": "Good"}, name=f"{name}b")
    with pytest.raises(ConfigError, match="two executors are registered for job type 'good'"):
        load_executors()


def test_a_test_executor_cannot_hide_a_real_one(folder: Path, name: str) -> None:
    write_plugin(folder, "class Noop(Good): job_type = 'noop'", {"noop": "Noop"}, name=name, group=TEST_GROUP)
    assert load_executors()["noop"].__module__ == "headrace.worker.executors.noop"
    with pytest.raises(ConfigError, match="two executors are registered for job type 'noop'"):
        load_executors(test_mode=True)


def test_the_supervisor_imports_neither_dramatiq_nor_executors() -> None:
    import subprocess

    code = (
        "import sys, headrace.worker.app\n"
        "print([name for name in sys.modules if name.startswith(('dramatiq', 'protego', 'selectolax',"
        " 'headrace.worker.executors', 'headrace.worker.crawler'))])"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert seen.stdout.strip() == "[]"
