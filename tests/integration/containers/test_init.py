"""The one-shot that makes the secrets: what it writes, who may read it, and that it never changes what exists."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from headrace.contracts.config import load_config
from headrace.runtime.web.auth import Scope, TokenTable

SOURCE = Path(__file__).parents[3] / "deploy/compose/init/init.py"


@pytest.fixture
def init() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compose_init", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def groups() -> dict[str, int]:
    # The group of whoever runs the tests: giving a file to another one needs membership.
    return dict.fromkeys(("app", "redis", "mongo"), os.getgid())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_first_start_makes_everything(init: ModuleType, tmp_path: Path, groups: dict[str, int]) -> None:
    made = init.prepare(tmp_path, groups)
    assert set(made) == {
        "redis/password",
        "redis/app_password",
        "mongo/keyfile",
        "mongo/root_password",
        "mongo/app_password",
        "app/tokens.toml",
    }
    assert {path.name for path in tmp_path.iterdir()} == {"app", "mongo", "operator", "redis"}


def test_a_later_start_changes_nothing(init: ModuleType, tmp_path: Path, groups: dict[str, int]) -> None:
    init.prepare(tmp_path, groups)
    before = contents(tmp_path)
    assert init.prepare(tmp_path, groups) == []
    assert contents(tmp_path) == before


def test_two_volumes_share_no_secret(init: ModuleType, tmp_path: Path, groups: dict[str, int]) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        init.prepare(tmp_path / name, groups)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    for name in one:
        if not name.endswith((".js", ".sh")):
            assert one[name] != two[name], name


def test_the_token_opens_the_table_with_every_scope(init: ModuleType, tmp_path: Path, groups: dict[str, int]) -> None:
    init.prepare(tmp_path, groups)
    token = (tmp_path / "operator/token").read_text().strip()
    found = TokenTable.load(tmp_path / "app/tokens.toml").find(token)
    assert found is not None
    assert found.name == "admin"
    assert all(found.allows(scope) for scope in Scope)
    assert token not in (tmp_path / "app/tokens.toml").read_text()


def test_the_services_can_read_the_addresses(init: ModuleType, tmp_path: Path, groups: dict[str, int]) -> None:
    init.prepare(tmp_path, groups)
    config, unknown = load_config(
        {
            "JOB_REDIS_URL_FILE": str(tmp_path / "app/redis_url"),
            "JOB_MONGO_URL_FILE": str(tmp_path / "app/mongo_url"),
            "JOB_API_TOKENS_FILE": str(tmp_path / "app/tokens.toml"),
        }
    )
    assert unknown == []
    redis_password = (tmp_path / "redis/app_password").read_text().strip()
    assert config.redis_url.get_secret_value() == f"redis://headrace:{redis_password}@redis:6379/0"
    assert (tmp_path / "mongo/app_password").read_text().strip() in config.mongo_url.get_secret_value()
    assert (tmp_path / "mongo/root_password").read_text().strip() not in config.mongo_url.get_secret_value()


def test_the_composed_redis_user_has_the_documented_rights(
    init: ModuleType, tmp_path: Path, groups: dict[str, int]
) -> None:
    init.prepare(tmp_path, groups)
    page = (SOURCE.parents[3] / "docs/redis-keys.md").read_text()
    documented = page.split("```acl\n", 1)[1].split("```", 1)[0].split()
    first, second = (tmp_path / "redis/redis.conf").read_text().splitlines()
    assert first == "requirepass " + (tmp_path / "redis/password").read_text().strip()
    digest = hashlib.sha256((tmp_path / "redis/app_password").read_bytes().strip()).hexdigest()
    assert second.split() == ["user", "headrace", "on", f"#{digest}", *documented]


def test_a_folder_is_for_its_group_and_the_plain_token_for_nobody(
    init: ModuleType, tmp_path: Path, groups: dict[str, int]
) -> None:
    old = os.umask(0)  # the rights must not hang on it
    try:
        init.prepare(tmp_path, groups)
    finally:
        os.umask(old)
    for folder in tmp_path.iterdir():
        shared = folder.name != "operator"
        assert stat.S_IMODE(folder.stat().st_mode) == (0o750 if shared else 0o700), folder
        for path in folder.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == (0o440 if shared else 0o600), path


def test_a_token_that_the_operator_took_away_is_not_made_again(
    init: ModuleType, tmp_path: Path, groups: dict[str, int]
) -> None:
    init.prepare(tmp_path, groups)
    (tmp_path / "operator/token").unlink()
    assert init.prepare(tmp_path, groups) == []
    assert not (tmp_path / "operator/token").exists()


def test_tables_that_the_operator_added_are_kept(init: ModuleType, tmp_path: Path, groups: dict[str, int]) -> None:
    init.prepare(tmp_path, groups)
    path = tmp_path / "app/tokens.toml"
    path.chmod(0o640)
    path.write_text(path.read_text() + f'\n[reader]\nhash = "sha256:{"0" * 64}"\nscopes = ["read"]\n')
    init.prepare(tmp_path, groups)
    assert set(tomllib.loads(path.read_text())) == {"admin", "reader"}


def test_a_start_that_was_cut_short_is_finished_by_the_next(
    init: ModuleType, tmp_path: Path, groups: dict[str, int]
) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis/password.new").write_text("half")
    init.prepare(tmp_path, groups)
    assert len((tmp_path / "redis/password").read_text().strip()) == 48
    assert not list(tmp_path.rglob("*.new"))


def test_a_volume_that_cannot_be_written_is_one_clear_line(
    init: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(init, "ROOT", tmp_path / "absent")
    assert init.main() == 1
    streams = capsys.readouterr()
    assert streams.err.startswith("init: ")
    assert streams.err.endswith("No such file or directory\n")
    assert streams.out == ""
