"""Scratch folders go with their process, however that ended, and never while it runs."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from worker_plugins import write_plugin
from worker_stage import Stage

from headrace.contracts.config import JobConfig
from headrace.runtime.process.ids import new_incarnation
from headrace.testing.eventually import eventually
from headrace.worker.child_process import ChildProcess
from headrace.worker.pools import ChildPlan
from headrace.worker.scratch import PREFIX, ScratchFolder, remove_left_folders

LITTER = """
import os, signal
class Litter(Good):
    job_type = "litter"
    def execute(self, context, payload):
        (context.scratch_dir / "half a download").write_bytes(b"x" * 1000)
        if payload.n:
            os.kill(os.getpid(), payload.n)
        import time
        time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files of this test go, those of its children too."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_a_folder_is_in_use_until_it_is_removed(folder: Path) -> None:
    scratch = ScratchFolder("w-1")
    assert list(folder.iterdir()) == [scratch.path]
    assert remove_left_folders() == 0
    (scratch.path / "file").touch()
    scratch.remove()
    scratch.remove()
    assert list(folder.iterdir()) == []


def test_only_what_a_worker_left_is_removed(folder: Path) -> None:
    left = folder / f"{PREFIX}w-1-abc"
    (left / "job").mkdir(parents=True)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (folder / f"{PREFIX}link").symlink_to(elsewhere)
    (folder / f"{PREFIX}file").touch()
    used = ScratchFolder("w-2")
    assert remove_left_folders() == 1
    assert {path.name for path in folder.iterdir()} == {
        "elsewhere",
        f"{PREFIX}link",
        f"{PREFIX}file",
        used.path.name,
    }
    used.remove()


def test_the_lock_is_the_childs_too(folder: Path) -> None:
    """A supervisor is killed: what its child still uses stays until that is gone."""
    scratch = ScratchFolder("w-1")
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(scratch.descriptor,), bufsize=0
    )
    os.close(scratch.descriptor)
    assert remove_left_folders() == 0
    child.communicate(b"\n")
    assert remove_left_folders() == 1
    assert not scratch.path.exists()


async def start(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ChildProcess:
    write_plugin(tmp_path, LITTER, {"litter": "Litter"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    incarnation = new_incarnation()
    await stage.incarnations.register(
        incarnation, service="s", host="h", pool="default", types=("litter",), slots=1, version="0", lease_seconds=60
    )
    return ChildProcess.spawn(incarnation, ChildPlan("default", ("litter",), 1), grace_seconds=1)


@pytest.mark.parametrize("own", [True, False])
async def test_what_a_killed_child_had_written_is_removed(
    stage: Stage, worker_config: JobConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    """By its job or from outside."""
    child = await start(stage, tmp_path, monkeypatch)
    number = signal.SIGKILL if own else 0
    (job,) = await stage.submit(type="litter", payload=f'{{"n": {int(number)}}}')
    if not own:
        await eventually(lambda: list(folder.glob(f"*/{job.id}-1-*/*")), within=30, what="the job has written")
        child.kill()
    await eventually(child.ended.done, within=30)
    assert child.ended.result().record.signal == signal.SIGKILL
    await eventually(lambda: list(folder.iterdir()) == [], what="its folder is gone")
    assert [started.job_id for started in child.ended.result().running] == [job.id]
    child.board.close()


def test_a_folder_that_another_service_removes_meanwhile_is_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = folder / f"{PREFIX}w-1"
    left.mkdir()
    flock = fcntl.flock

    def raced(descriptor: int, how: int) -> None:
        left.rmdir()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", raced)
    assert remove_left_folders() == 1
    assert list(folder.iterdir()) == []
