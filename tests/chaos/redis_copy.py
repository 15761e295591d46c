"""A Redis of one run, which can lose its data and go back to an old copy of them."""

from __future__ import annotations

import shutil

from headrace.local.redis_server import RedisServer


class ChaosRedis(RedisServer):
    """Without an append-only file: a crash leaves nothing, or the copy that was put there. All methods block."""

    def __init__(self) -> None:
        super().__init__(prefer="redis", password=True, settings={"slowlog-max-len": "1000"})

    @property
    def password(self) -> str:
        """Of its one user."""
        assert self._password is not None, "asked for above"
        return self._password

    def copy(self) -> None:
        """Keep the data of this moment."""
        if not self._ask("SAVE", timeout=10).startswith("+OK"):
            raise ConnectionError("Redis could not save its data")  # another fault is on: it is asked again
        shutil.move(self._dump, self.folder / "old.rdb")

    def crash(self, *, back_to_copy: bool = False) -> None:
        """Die and come back: empty, or as it was at the last `copy`."""
        self.kill()
        self.wipe()
        if back_to_copy:
            shutil.copy(self.folder / "old.rdb", self._dump)
        self.start()
        self._dump.unlink(missing_ok=True)  # loaded; another crash must not bring it back once more
