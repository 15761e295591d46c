from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from headrace.local.folders import Folder, FolderInUseError, remove_leftovers
from headrace.testing.eventually import eventually


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of this test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_temporary_folder_goes_with_its_holder(temporary: Path) -> None:
    folder = Folder(purpose="x")
    (folder.path / "file").touch()
    assert folder.path.parent == temporary
    folder.close()
    folder.close()
    assert list(temporary.iterdir()) == []


def test_a_named_folder_stays_and_has_one_holder_at_a_time(tmp_path: Path) -> None:
    held = Folder(tmp_path / "data")
    with pytest.raises(FolderInUseError, match="in use"):
        Folder(tmp_path / "data")
    held.close()
    Folder(tmp_path / "data").close()
    assert (tmp_path / "data").is_dir()


async def test_what_a_killed_process_left_is_removed_and_what_is_used_is_not(temporary: Path) -> None:
    code = f"import tempfile; tempfile.tempdir = {str(temporary)!r}\n"
    code += "from headrace.local.folders import Folder\nfolder = Folder()\nprint(folder.path, flush=True)\ninput()"
    mine = Folder()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().decode().strip())
        assert remove_leftovers() == 0
        assert theirs.is_dir()
        other.kill()
    await eventually(lambda: remove_leftovers() == 1)
    assert not theirs.exists()
    assert mine.path.is_dir()
    mine.close()


def test_links_and_folders_without_a_lock_are_left_alone(temporary: Path) -> None:
    precious = temporary / "precious"
    precious.mkdir()
    (precious / ".in-use").touch()
    (temporary / "headrace-link").symlink_to(precious)
    (temporary / "headrace-new").mkdir()
    assert remove_leftovers() == 0
    assert (precious / ".in-use").exists()
    assert (temporary / "headrace-new").exists()
