"""`headrace-recovery --once`: the operator's command, its report and its exit codes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from recovery_stage import LONG_AGO, POOL, Process, Stage

from headrace.contracts.config import JobConfig
from headrace.contracts.states import JobState
from headrace.recovery import ghosts, once
from headrace.recovery.counts import Counts
from headrace.recovery.report import Report, text
from headrace.testing.builders import make_job_id


@pytest.fixture
def settings(config: JobConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the command, whose logging would outlive it."""
    monkeypatch.setattr(once, "configure_logging", lambda *_args, **_kwargs: None)
    monkeypatch.setenv("JOB_REDIS_URL", config.redis_url.get_secret_value())
    monkeypatch.setenv("JOB_MONGO_URL", config.mongo_url.get_secret_value())
    monkeypatch.setenv("JOB_MONGO_DATABASE", config.mongo_database)
    monkeypatch.setenv("JOB_NAMESPACE", config.namespace)


async def broken(stage: Stage) -> tuple[str, str]:
    """One missing and one forgotten job; a place in flight under nobody."""
    await stage.complete()
    missing = await stage.job()
    over = await stage.job(state=JobState.COMPLETED)
    await stage.redis.zadd(stage.keys.ready, {over.id: 1})
    return missing.id, over.id


async def run(*arguments: str) -> int:
    """The command in this process; it has an event loop of its own."""
    return await asyncio.to_thread(once.main, ["--once", *arguments])


async def test_a_check_reports_and_changes_nothing(
    stage: Stage, settings: None, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, over = await broken(stage)
    assert await run("--check") == 1
    written = capsys.readouterr().out
    report = written[written.index("pool ") :].splitlines()  # logs come before it here, on stderr in the process
    assert report[0].split() == ["pool", "missing", "ghost", "stuck_inflight", "wrong_order", "complete"]
    assert report[1].split() == [POOL, "1", "1", "0", "0", "yes"]
    assert report[-1] == "differences were found"
    assert (await stage.where(missing)).place is None
    assert (await stage.where(over)).place == "ready"


async def test_a_repair_mends_and_a_check_is_clean_then(
    stage: Stage, settings: None, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, _ = await broken(stage)
    orphan = await stage.running(owner="w-gone")
    assert await run("--repair") == 0
    assert "repaired: ghost 1, host_lost 1, missing 1\n" in capsys.readouterr().out
    assert await stage.held_ids() == {missing: "ready", orphan.id: "ready"}
    assert await run("--check") == 0
    assert capsys.readouterr().out.endswith("clean\n")


async def test_an_emptied_redis_is_a_difference_and_is_repaired(stage: Stage, settings: None) -> None:
    job = await stage.job()
    parts = stage.parts
    found = await once._check(parts)
    assert (found.is_clean, found.incomplete) == (False, [POOL])
    await once._repair(parts)
    assert await stage.held_ids() == {job.id: "ready"}
    assert (await once._check(parts)).is_clean


async def test_c10_a_repair_looks_at_a_ghost_twice(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ghosts, once):
        monkeypatch.setattr(module, "APART_SECONDS", 0.3)
    await stage.know_pool()
    await stage.complete()
    await stage.redis.zadd(stage.keys.ready, {make_job_id(): 1})
    found = await once._repair(stage.parts)
    assert (found.drift[POOL]["ghost"], found.mended) == (1, {"ghost": 1})
    assert (await once._check(stage.parts)).is_clean


@pytest.mark.parametrize(
    "arguments", [["--once"], ["--check"], ["--once", "--check", "--repair"], ["--once", "--check", "more"]]
)
def test_wrong_arguments_are_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        once.main(arguments)
    assert ended.value.code == 2


async def test_a_store_that_does_not_answer_is_code_4(
    settings: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOB_REDIS_URL", "redis://127.0.0.1:1")
    assert await run("--check") == 4
    assert capsys.readouterr().err == "headrace-recovery: no connection to Redis\n"


async def test_the_command_is_what_the_entry_point_runs(config: JobConfig, tmp_path: Path) -> None:
    with Process(config, tmp_path / "log", "--once", "--check") as process:
        assert await process.ended() == 0
    assert (tmp_path / "log").read_text().endswith("places past their time: 0\nclean\n")


def test_a_wrong_setting_is_code_2(settings: None, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("JOB_LEASE_SECONDS", "1")
    assert once.main(["--once", "--check"]) == 2
    assert "JOB_WORKER_HEARTBEAT_SECONDS" in capsys.readouterr().err


def test_the_report_lines_up() -> None:
    drift = {"crawl": Counts(missing=12), "a-very-long-name": Counts(ghost=3)}
    lines = text(Report(drift=drift, incomplete=["crawl", "left"], waits={"orphans": 2}, mended=Counts())).splitlines()
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[3].split() == ["left", "-", "-", "-", "-", "no"]
    assert lines[4:] == ["orphans: 2", "repaired: nothing", "differences were found and repaired"]


async def test_everything_that_waits_for_recovery_is_told_and_repaired(
    stage: Stage, settings: None, capsys: pytest.CaptureFixture[str]
) -> None:
    await stage.complete()
    await stage.worker("w-live")
    await stage.running("w-gone")
    await stage.running("w-live", timeout_seconds=5)
    await stage.running("w-live", timeout_seconds=9999, cancel_requested_at=LONG_AGO)
    await stage.job(expires_at=LONG_AGO)
    await stage.job(indexed=False)
    await stage.redis.zadd(stage.keys.reserved, {make_job_id(): 1})
    once_each = {
        "orphans": 1,
        "overdue runs": 1,
        "unanswered cancels": 1,
        "jobs not started in time": 1,
        "jobs not pushed yet": 1,
        "places past their time": 1,
    }
    assert (await once._check(stage.parts)).waits == once_each
    capsys.readouterr()
    assert await run("--check", "--json") == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["verdict"], found["waits"], found["mended"]) == ("differences were found", once_each, None)
    assert await run("--repair", "--json") == 0
    repaired = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (repaired["verdict"], repaired["left"]) == ("differences were found and repaired", {})
    assert repaired["waits"] == once_each
    assert set((await once._check(stage.parts)).waits.values()) == {0}


async def test_what_could_not_be_repaired_is_code_1(
    settings: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def repair(_parts: object) -> Report:
        return Report(drift={}, incomplete=[], mended=Counts(orphaned=3), left={"orphans": 2, "incomplete pools": 0})

    monkeypatch.setattr(once, "_repair", repair)
    assert await run("--repair") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["repaired: orphaned 3", "left: orphans 2", "not everything could be repaired"]
