"""What is installed here, learned by a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from worker_plugins import write_plugin

from headrace.contracts.errors import ConfigError
from headrace.worker import catalogue, early
from headrace.worker.catalogue import discover


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Only the discovering process sees it."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


async def test_a_plug_in_is_described_without_being_imported_here(folder: Path) -> None:
    write_plugin(folder, "print('hello from a plug-in'); print('{}', end='')", {"good": "Good"})
    found = {item.type: item for item in await discover(test_mode=True)}
    assert {"crawl", "noop", "test.sleep", "good"} <= set(found)
    good = found["good"]
    assert (good.pool, good.policy.slots_per_process, good.contract_version) == ("plug", 3, 4)
    assert good.payload_schema["properties"]["n"]["type"] == "integer"


BROKEN = {
    "raise SystemExit(0)": "executor 'good' (plug_module:Good) cannot be imported: SystemExit",
    "raise ValueError('two\\nlines')": "cannot be imported: ValueError: two lines",
    "import typing\nclass P(BaseModel):\n  f: typing.Callable[[], int]\nGood.payload_model = P": (
        "executor 'good': its payload_model has no JSON Schema"
    ),
}


@pytest.mark.parametrize("source", BROKEN)
async def test_a_broken_plug_in_is_one_clear_line(folder: Path, source: str) -> None:
    write_plugin(folder, source, {"good": "Good"})
    with pytest.raises(ConfigError) as caught:
        await discover(test_mode=False)
    assert BROKEN[source] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


async def test_a_plug_in_that_kills_the_process_is_no_riddle(folder: Path) -> None:
    write_plugin(folder, "import os; os._exit(3)", {"good": "Good"})
    with pytest.raises(ConfigError, match="cannot be read"):
        await discover(test_mode=False)


async def test_a_plug_in_that_never_finishes_its_import_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "DISCOVERY_SECONDS", 1.0)
    write_plugin(folder, "import time; time.sleep(600)", {"good": "Good"})
    with pytest.raises(ConfigError, match="did not import within 1 s"):
        await discover(test_mode=False)


def test_the_process_prints_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogue.main(["--test-mode"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 1
    assert {"noop", "test.sleep"} <= {item["type"] for item in json.loads(lines[0])}


def test_the_process_says_what_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write_plugin(tmp_path, "1 / 0", {"good": "Good"}, name="plugbroken")
    assert catalogue.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip().splitlines()[-1].endswith("ZeroDivisionError: division by zero")


async def test_without_any_executor_there_is_nothing_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Python reads this file at its start.
    (tmp_path / "sitecustomize.py").write_text(
        "from importlib import metadata\nmetadata.entry_points = lambda **_: ()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no executor is installed"):
        await discover(test_mode=False)


async def test_a_process_that_was_begun_early_is_the_one_that_answers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(folder, "", {"good": "Good"})
    monkeypatch.setenv("JOB_TEST_MODE", "1")
    early.begin()
    begun = early._begun[True]
    monkeypatch.delenv("PYTHONPATH")  # a later one would not find it
    assert "good" in {item.type for item in await discover(test_mode=True)}
    assert begun.returncode == 0
    assert early._begun == {}
    assert "good" not in {item.type for item in await discover(test_mode=True)}
