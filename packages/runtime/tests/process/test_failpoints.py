from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from headrace.contracts.errors import ConfigError, StoreUnavailableError
from headrace.runtime.process import failpoints
from headrace.runtime.process.failpoints import afp, fp, install
from headrace.testing.eventually import eventually


@pytest.fixture(autouse=True)
def disarmed():
    yield
    install("")


async def test_nothing_happens_where_nothing_is_armed():
    fp("claim.sent")
    await afp("claim.sent")
    install("other=error:KeyError")
    fp("claim.sent")
    await afp("claim.sent")


async def test_errors_of_ours_and_of_python_are_raised():
    install("a=error:StoreUnavailableError; b=error:ConnectionResetError")
    with pytest.raises(StoreUnavailableError, match="failpoint a"):
        fp("a")
    with pytest.raises(ConnectionResetError):
        await afp("b")


async def test_sleep_holds_up_as_long_as_it_says():
    install("a=sleep:20")
    began = time.monotonic()
    fp("a")
    await afp("a")
    assert time.monotonic() - began >= 0.04


def hits(name: str, times: int) -> list[int]:
    found = []
    for turn in range(1, times + 1):
        try:
            fp(name)
        except KeyError:
            found.append(turn)
    return found


def test_once_and_nth_pick_their_turn():
    install("a=error:KeyError,once;b=error:KeyError,nth:3")
    assert hits("a", 5) == [1]
    assert hits("b", 5) == [3]


def test_a_chance_repeats_with_its_seed():
    install("a=error:KeyError,p:0.3@7")
    first = hits("a", 50)
    install("a=error:KeyError,p:0.3@7")
    assert hits("a", 50) == first
    assert 0 < len(first) < 50
    install("a=error:KeyError,p:0")
    assert hits("a", 50) == []


def test_an_empty_text_disarms():
    install("a=error:KeyError")
    install(" ; ")
    assert failpoints._points is None
    fp("a")


@pytest.mark.parametrize(
    "spec",
    ["a", "=exit137", "a=explode", "a=sleep:long", "a=error:Nothing", "a=error:dict", "a=stop,often", "a=stop,nth:x"],
)
def test_a_wrong_text_is_refused_by_name(spec):
    with pytest.raises(ConfigError, match="JOB_FAILPOINTS"):
        install(spec)


def script(action: str) -> list[str]:
    code = f"from headrace.runtime.process.failpoints import *; install('a={action}'); fp('a'); print('passed')"
    return [sys.executable, "-c", code]


def test_exit137_dies_without_a_word():
    done = subprocess.run(script("exit137"), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (137, b"", b"")


async def test_stop_freezes_the_process_until_it_is_continued():
    with subprocess.Popen(script("stop"), stdout=subprocess.PIPE) as process:

        def is_stopped() -> bool:
            with open(f"/proc/{process.pid}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0] == "T"

        await eventually(is_stopped)
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=20)[0] == b"passed\n"


def test_a_file_in_the_folder_arms_a_running_process_once(tmp_path):
    install(f"@{tmp_path}")
    fp("a")
    (tmp_path / "a").write_text("error:KeyError\n")
    fp("b")
    assert hits("a", 3) == [1], "the file is taken away by who passes first"
    (taken,) = tmp_path.iterdir()
    name, pid, nanoseconds, end = taken.name.split(".")
    assert (name, int(pid), end) == ("a", os.getpid(), "fired")
    assert 0 < time.monotonic_ns() - int(nanoseconds) < 60e9


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        install(f"@{tmp_path / 'nowhere'}")
