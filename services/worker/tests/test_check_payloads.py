"""`headrace-worker check-payloads`: what it says about what waits, and what it never says."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from worker_plugins import write_plugin
from worker_stage import Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.states import JobState
from headrace.local.ports import free_port
from headrace.testing.builders import make_job
from headrace.worker import check_payloads as module
from headrace.worker.__main__ import main

SOURCE = """
from typing import Literal
from pydantic import ConfigDict, field_validator
class Sized(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int
    kind: Literal["a", "b"] = "a"
    @field_validator("width")
    @classmethod
    def _even(cls, value):
        if value % 2:
            raise ValueError(f"{value} is odd")
        return value
class Resize(Good):
    job_type = "resize"
    payload_model = Sized
    contract_version = 3
    @classmethod
    def upcast(cls, payload, version):
        return {"width": payload["w"]} if version == 1 else payload
"""
SECRET = "hunter2"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker_config: JobConfig) -> str:
    """An installed type `resize` in this process and in those it starts; the environment of a worker."""
    monkeypatch.setattr(module, "configure_logging", lambda *_, **__: None)
    folder = tmp_path / "plugins"
    folder.mkdir()
    write_plugin(folder, SOURCE, {"resize": "Resize"}, name="check_payloads_plug")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    return "resize"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace.worker", "check-payloads", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


async def store(stage: Stage, *payloads: tuple[int, str], **fields: Any) -> list[str]:
    jobs = [make_job(type="resize", contract_version=version, payload=text, **fields) for version, text in payloads]
    await stage.state.insert(jobs)
    return [job.id for job in jobs]


GOOD = ((3, '{"width": 2}'), (2, '{"width": 4}'), (1, '{"w": 6}'))


async def test_payloads_that_fit_are_counted_and_the_exit_status_is_0(
    stage: Stage, plugin: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    await store(stage, *GOOD)
    await store(stage, (3, '{"width": 8}'), state=JobState.PROCESSING, attempt=1, owner="w-1")
    await store(stage, (3, '{"broken": 1}'), state=JobState.FAILED)
    await stage.state.insert([make_job(type="elsewhere"), make_job(type="noop")])
    assert await asyncio.to_thread(main, ["check-payloads", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["not_installed"] == {"elsewhere": 1}
    resize = next(item for item in report["types"] if item["type"] == plugin)
    assert resize == {
        "type": "resize", "contract_version": 3, "checked": 4, "ok": 4, "upcast": 2, "newer": 0, "failing": 0,
        "failing_jobs": [],
    }  # fmt: skip
    assert await asyncio.to_thread(main, ["check-payloads"]) == 0
    out = capsys.readouterr().out
    assert "resize      version 3  checked 4, ok 4 (upcast 2), newer 0, failing 0\n" in out
    assert "not installed here: elsewhere (1)\n" in out
    assert out.endswith("every payload fits\n")


@pytest.mark.usefixtures("plugin")
async def test_payloads_that_do_not_fit_are_named_by_job_and_field_and_never_quoted(stage: Stage) -> None:
    bad = await store(
        stage,
        (3, json.dumps({"width": SECRET})),
        (3, json.dumps({"width": 2, "kind": SECRET, "more": SECRET})),
        (2, json.dumps({"width": 13})),
        (1, json.dumps({"v": SECRET})),
        (1, json.dumps([SECRET])),
    )
    (newer,) = await store(stage, (4, json.dumps({"width": 2})))
    done = await asyncio.to_thread(run, "--type", "resize", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    (item,) = json.loads(done.stdout)["types"]
    assert (item["checked"], item["ok"], item["newer"], item["failing"]) == (6, 0, 1, 5)
    assert [job["id"] for job in item["failing_jobs"]] == bad
    rules = [[(at["field"], at["rule"]) for at in job["problems"]] for job in item["failing_jobs"]]
    assert rules == [
        [("width", "int_parsing")],
        [("kind", "literal_error"), ("more", "extra_forbidden")],
        [("width", "value_error")],
        [("", "KeyError")],
        [("", "TypeError")],
    ]
    text = await asyncio.to_thread(run)
    assert text.returncode == 1
    for job_id in bad:
        assert job_id in text.stdout
    assert newer not in text.stdout
    assert "    width: Input should be a valid integer" in text.stdout
    assert "    width: refused by the model's own rule\n" in text.stdout
    assert "    (the whole): the upcast raised KeyError\n" in text.stdout
    for output in (done.stdout, text.stdout, text.stderr):
        assert SECRET not in output
        assert "13 is odd" not in output


@pytest.mark.usefixtures("plugin")
async def test_of_many_failing_jobs_the_first_are_named_and_the_rest_counted(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    await store(stage, *[(3, "{}")] * 103)
    assert await asyncio.to_thread(main, ["check-payloads", "--type", "resize"]) == 1
    out = capsys.readouterr().out
    assert "failing 103\n" in out
    assert out.count("  version 3\n") == 100
    assert "  and 3 more\n" in out


@pytest.mark.usefixtures("plugin")
def test_bad_usage_is_2_and_a_store_that_is_away_is_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["check-payload"], ["check-payloads", "--xml"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    assert main(["check-payloads", "--type", "nonesuch"]) == 2
    assert "no executor is installed for nonesuch" in capsys.readouterr().err
    away = f"mongodb://127.0.0.1:{free_port()}/?directConnection=true&serverSelectionTimeoutMS=200"
    monkeypatch.setenv("JOB_MONGO_URL", away)
    assert main(["check-payloads"]) == 4
    err = capsys.readouterr().err
    assert err.startswith("headrace-worker: MongoDB does not answer")
    assert err.count("\n") == 1
    monkeypatch.setenv("JOB_MAX_WORKERS", "none")
    assert main(["check-payloads"]) == 2
    assert "JOB_MAX_WORKERS" in capsys.readouterr().err


def test_the_help_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "check-payloads" in capsys.readouterr().out
