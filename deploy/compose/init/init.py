"""Make what the containers keep secret, once: passwords, a key file and an API token, in one volume.

Whatever exists is kept, so every start after the first changes nothing but the files that are derived from others.
Each reader sees its own folder and nothing else, by its group; the plain API token is for the operator alone.

    redis/     redis.conf, password            read by Redis
    mongo/     keyfile, passwords, scripts     read by MongoDB
    app/       URLs with passwords, tokens     read by the four services
    operator/  token                           read by `docker compose run --rm init cat /run/headrace/operator/token`
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path("/run/headrace")
SCRIPTS = Path(__file__).parent / "mongo"
GROUPS = {"app": 10001, "redis": 10002, "mongo": 10003}
"""Who may read which folder. `operator` is absent: it has no group, only this container's user can read it."""

DATABASE = "headrace"
REDIS_RIGHTS = (
    "~headrace:* resetchannels &headrace:* "
    "+hello +auth +ping +info +time +client|setname "
    "+evalsha +script|load +publish +subscribe +unsubscribe +type +exists +del +pexpire "
    "+zadd +zrem +zcard +zcount +zscore +zmscore +zrange +zrangebyscore +zrevrangebyscore +zpopmin +zscan "
    "+hset +hget +hmget +hdel +hexists +hscan +get +set +incr +incrby +rpush +lrange "
    "+xadd +xdel +xrange +xrevrange"
)
"""What the services' Redis user may do. The list is that of `docs/redis-keys.md`; a test compares them."""


class Volume:
    """The volume's folders and files.

    Args:
        root: Where it is mounted.
        groups: The group that reads a folder, by the folder's name. This process must be a member of each.
    """

    def __init__(self, root: Path, groups: Mapping[str, int]) -> None:
        self._root = root
        self._groups = groups
        self.made: list[str] = []
        """Files that were not there before."""

    def keep(self, name: str, make: Callable[[], str]) -> str:
        """The line or lines in the file, made now if there is no such file."""
        path = self._root / name
        if not path.exists():
            self.put(name, make() + "\n")
            self.made.append(name)
        return path.read_text(encoding="utf-8").strip()

    def put(self, name: str, text: str) -> None:
        """Write the file, whole or not at all, readable by its folder's group and by nobody else."""
        path = self._root / name
        self._make_folder(path.parent)
        new = path.with_name(path.name + ".new")
        new.unlink(missing_ok=True)  # of a start that was cut short
        group = self._groups.get(path.parent.name)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if group is not None:
                os.fchown(file.fileno(), -1, group)
                os.fchmod(file.fileno(), 0o440)
            os.fsync(file.fileno())
        new.rename(path)

    def _make_folder(self, folder: Path) -> None:
        if folder.exists():
            return
        folder.mkdir(mode=0o700)
        group = self._groups.get(folder.name)
        if group is not None:
            os.chown(folder, -1, group)
            folder.chmod(0o750)


def prepare(root: Path, groups: Mapping[str, int]) -> list[str]:
    """Bring the volume to what this version needs.

    Returns:
        The names of the secrets that were made now; empty at every later start.
    """
    volume = Volume(root, groups)
    _redis(volume)
    _mongo(volume)
    _api_token(volume)
    return volume.made


def _redis(volume: Volume) -> None:
    password = volume.keep("redis/password", _password)
    app_password = volume.keep("redis/app_password", _password)
    digest = hashlib.sha256(app_password.encode()).hexdigest()
    # In a file: the command line of a container can be read with `docker inspect`. The default user stays for the
    # operator; the services get one that may do what they do and nothing else.
    volume.put("redis/redis.conf", f"requirepass {password}\nuser headrace on #{digest} {REDIS_RIGHTS}\n")
    volume.put("app/redis_url", f"redis://headrace:{app_password}@redis:6379/0\n")


def _mongo(volume: Volume) -> None:
    volume.keep("mongo/keyfile", lambda: base64.b64encode(secrets.token_bytes(756)).decode())
    volume.keep("mongo/root_password", _password)
    password = volume.keep("mongo/app_password", _password)
    for script in sorted(SCRIPTS.iterdir()):
        volume.put(f"mongo/{script.name}", script.read_text(encoding="utf-8"))
    volume.put(
        "app/mongo_url",
        f"mongodb://headrace:{password}@mongo:27017/{DATABASE}?replicaSet=rs0&authSource={DATABASE}\n",
    )


def _api_token(volume: Volume) -> None:
    token = ""

    def table() -> str:
        nonlocal token
        token = secrets.token_urlsafe(32)
        # The plain token goes first: a table whose token nobody knows would lock everybody out.
        volume.put("operator/token", token + "\n")
        digest = hashlib.sha256(token.encode()).hexdigest()
        return f'[admin]\nhash = "sha256:{digest}"\nscopes = ["admin"]'

    # The table alone decides: the operator may remove the plain token once it is kept elsewhere, and add tables.
    volume.keep("app/tokens.toml", table)


def _password() -> str:
    # Letters and digits only: it stands in URLs and in a Redis configuration file as it is.
    return secrets.token_hex(24)


def main() -> int:
    """Prepare the volume and say what was done; never what the secrets are."""
    try:
        made = prepare(ROOT, GROUPS)
    except OSError as error:
        sys.stderr.write(f"init: {error.filename or ROOT}: {error.strerror}\n")
        return 1
    sys.stdout.write(f"init: made {', '.join(made)}\n" if made else "init: everything is there already\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
