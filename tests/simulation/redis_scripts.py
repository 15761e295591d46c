"""Our scripts in plain Python, written from what their headers promise and not from their Lua."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .redis_server import RedisModel

Zset = dict[str, float]
Script = Callable[["RedisModel", list[str], list[str]], Any]
LAST_SCORE = 3 * 2**43 - 1


def ranked(values: Zset) -> list[tuple[str, float]]:
    """The members of a sorted set in its order."""
    return sorted(values.items(), key=lambda item: (item[1], item[0]))


def shown(number: float) -> str:
    """A score as Redis writes it."""
    return str(int(number)) if number == int(number) else repr(number)


def is_of_this_run(server: RedisModel, value: str | None) -> bool:
    """Whether a marker was written by this run of the server."""
    return value is not None and value.partition(":")[0] == server.run_id


def is_known(sets: Sequence[Zset], job_id: str) -> bool:
    """Whether an id is in one of the sets."""
    return any(job_id in members for members in sets)


def place(
    server: RedisModel, ready: Zset, delayed: Zset, score_of: dict[str, str], entry: tuple[str, int, int], wake: Wake
) -> None:
    """Let an id wait where its due time says."""
    job_id, score, due = entry
    if due > server.now:
        delayed[job_id] = due
        score_of[job_id] = str(score)
        wake.is_due = wake.is_due or due - server.now < wake.poll_ms
    else:
        ready[job_id] = score
        wake.is_due = True


class Wake:
    """Whether somebody is to be woken at the end of a script."""

    def __init__(self, server: RedisModel, channel: str, poll_ms: str) -> None:
        self._server = server
        self._channel = channel
        self.poll_ms = int(poll_ms)
        self.is_due = False

    def send(self) -> None:
        """Say it."""
        if self.is_due:
            self._server.publish(self._channel, "ready")


def groups(args: Sequence[str], first: int, count: int, width: int) -> list[Sequence[str]]:
    """Arguments that come in groups."""
    return [args[first + width * at : first + width * (at + 1)] for at in range(count)]


def reserve(server: RedisModel, keys: list[str], args: list[str]) -> list[int]:
    """Grant places to a prefix of the ids."""
    ready, delayed, inflight, reserved = map(server.zset, keys[:4])
    ttl, runs = int(args[0]), int(args[1])
    limits = [int(limit) for limit, count in groups(args, 2, runs, 2) for _ in range(int(count))]
    ids = args[2 + 2 * runs :]
    pending = len(ready) + len(delayed) + len(inflight) + len(reserved)
    if not is_of_this_run(server, server.values.get(keys[4])):
        return [0, 0, server.now, pending]
    granted = 0
    for job_id, limit in zip(ids, limits, strict=True):
        waits = is_known((ready, delayed, inflight), job_id)
        if not waits and job_id not in reserved:
            if pending >= limit:
                break
            pending += 1
        if not waits:
            reserved[job_id] = server.now + ttl
        granted += 1
    return [granted, 1, server.now, pending]


def enqueue(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Let ids wait that are nowhere yet, and free places."""
    ready, delayed, inflight, reserved = map(server.zset, keys[:4])
    wake, count, added = Wake(server, args[0], args[1]), int(args[2]), 0
    for job_id, score, due in groups(args, 3, count, 3):
        reserved.pop(job_id, None)
        if not is_known((ready, delayed, inflight), job_id):
            place(server, ready, delayed, server.hash(keys[4]), (job_id, int(score), int(due)), wake)
            added += 1
    for job_id in args[3 + 3 * count :]:
        reserved.pop(job_id, None)
    wake.send()
    return added


def refill(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Let ids wait that are due and nowhere yet."""
    ready, delayed, inflight, reserved = map(server.zset, keys[:4])
    flat, added = json.loads(args[1]), 0
    for job_id, score in zip(flat[::2], flat[1::2], strict=True):
        reserved.pop(job_id, None)
        if not is_known((ready, delayed, inflight), job_id):
            ready[job_id] = int(score)
            added += 1
    if added:
        server.publish(args[0], "ready")
    return added


def _promote_due(server: RedisModel, keys: dict[str, str], late_ms: int, limit: int) -> int:
    ready, delayed, inflight = server.zset(keys["ready"]), server.zset(keys["delayed"]), server.zset(keys["inflight"])
    score_of, promoted = server.hash(keys["score"]), 0
    for job_id, due in ranked(delayed)[:limit]:
        if due > server.now - late_ms:
            break
        del delayed[job_id]
        score = float(score_of.pop(job_id, LAST_SCORE))
        if job_id not in inflight:
            ready[job_id] = score if 0 <= score < 3 * 2**43 else LAST_SCORE
            promoted += 1
    return promoted


def claim(server: RedisModel, keys: list[str], args: list[str]) -> list[Any]:
    """Take the best ids into flight."""
    ready, delayed, inflight = map(server.zset, keys[:3])
    token, count, late_ms, kept_ms = args[0], int(args[1]), int(args[2]), int(args[3])
    is_paused = keys[5] in server.values
    ids: list[str] = list(server.values.get(keys[7], ()))
    if not ids:
        names = dict(zip(("ready", "delayed", "inflight"), keys[:3], strict=True)) | {"score": keys[4]}
        _promote_due(server, names, late_ms, max(4 * count, 64))
        if not is_paused:
            ids = [job_id for job_id, _ in ranked(ready)[:count]]
        for job_id in ids:
            del ready[job_id]
            inflight[job_id] = server.now
            server.hash(keys[3])[job_id] = token
        if ids:
            server.values[keys[7]] = list(ids)
            server.keep_until(keys[7], server.now + kept_ms)
            server.values[keys[6]] = str(int(server.values.get(keys[6], "0")) + 1)
    due = ranked(delayed)
    return [server.now, int(is_paused), shown(due[0][1] + late_ms) if due else "-1", 0, ids]


def remove(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Forget ids."""
    gone = sum(server.zset(key).pop(job_id, None) is not None for key in keys[:3] for job_id in args)
    if gone:
        server.values[keys[6]] = str(int(server.values.get(keys[6], "0")) + gone)
    gone += sum(server.zset(keys[3]).pop(job_id, None) is not None for job_id in args)
    for job_id in args:
        server.hash(keys[4]).pop(job_id, None)
        server.hash(keys[5]).pop(job_id, None)
    return gone


def requeue(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Let ids wait again that nobody else has."""
    ready, delayed, inflight, reserved = map(server.zset, keys[:4])
    holder, wake, moved = server.hash(keys[5]), Wake(server, args[0], args[1]), 0
    for job_id, score, due, token in groups(args, 3, int(args[2]), 4):
        mine = job_id not in inflight or holder.get(job_id) in (None, token)
        if mine and not is_known((ready, delayed), job_id):
            inflight.pop(job_id, None)
            holder.pop(job_id, None)
            reserved.pop(job_id, None)
            place(server, ready, delayed, server.hash(keys[4]), (job_id, int(score), int(due)), wake)
            moved += 1
    wake.send()
    return moved


def _carry_out(server: RedisModel, keys: list[str], verdict: Sequence[str], putback_ms: int) -> None:
    """Keys: delayed, inflight, holder, score."""
    job_id, where, due, score = verdict[:4]
    if where == "leave":
        return
    server.zset(keys[1]).pop(job_id, None)
    server.hash(keys[2]).pop(job_id, None)
    if where == "delayed":
        server.zset(keys[0])[job_id] = int(due) if int(due) > server.now else server.now + putback_ms
        server.hash(keys[3])[job_id] = score


def putback(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Place ids of a claim that the truth refused."""
    inflight, holder, token, moved = server.zset(keys[1]), server.hash(keys[2]), args[0], set()
    for verdict in groups(args, 3, int(args[2]), 4):
        job_id = verdict[0]
        if job_id in inflight and holder.get(job_id) == token and job_id not in moved:
            moved.add(job_id)
            if verdict[1] == "leave":
                del holder[job_id]
            _carry_out(server, keys, verdict, int(args[1]))
    return len(moved)


def sweep(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Place ids that stayed in flight as they were seen."""
    inflight, holder, same = server.zset(keys[1]), server.hash(keys[2]), set()
    for verdict in groups(args, 3, int(args[2]), 6):
        job_id, claimed, token = verdict[0], int(verdict[4]), verdict[5]
        is_same = inflight.get(job_id) == claimed and holder.get(job_id, "") == token
        if is_same and abs(server.now - claimed) >= int(args[0]) and job_id not in same:
            same.add(job_id)
            _carry_out(server, keys, verdict, int(args[1]))
    return len(same)


def promote(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Make ready what is due."""
    names = dict(zip(("ready", "delayed", "inflight", "score"), keys, strict=True))
    promoted = _promote_due(server, names, int(args[1]), int(args[2]))
    if promoted:
        server.publish(args[0], "ready")
    return promoted


def depths(server: RedisModel, keys: list[str], args: list[str]) -> list[int]:
    """Count."""
    ready, delayed, inflight, reserved = map(server.zset, keys[:4])
    step = int(args[0])
    waiting = [0, 0, 0]
    for score in ready.values():
        waiting[max(0, min(2, int(score // step)))] += 1
    oldest = min((int(score % step) for score in ready.values()), default=-1)
    due = sum(at <= server.now for at in delayed.values())
    complete = is_of_this_run(server, server.values.get(keys[5]))
    counts = [*waiting, len(delayed), len(inflight), len(reserved), due, oldest]
    return [*counts, int(keys[4] in server.values), int(complete)]


def in_flight(server: RedisModel, keys: list[str], args: list[str]) -> list[str]:
    """What has been in flight for a while."""
    older, offset, limit = map(int, args)
    old = [(job_id, at) for job_id, at in ranked(server.zset(keys[0])) if at <= server.now - older]
    return [
        part
        for job_id, at in old[offset : offset + limit]
        for part in (job_id, shown(at), server.hash(keys[1]).get(job_id, ""))
    ]


def locate(server: RedisModel, keys: list[str], args: list[str]) -> list[list[Any]]:
    """Where ids are."""
    found = []
    for job_id in args:
        row: list[Any] = [0, "", server.hash(keys[4]).get(job_id, "")]
        for number, key in enumerate(keys[:4], start=1):
            if not row[0] and job_id in server.zset(key):
                row[:2] = [number, shown(server.zset(key)[job_id])]
        found.append(row)
    return found


def expired(server: RedisModel, keys: list[str], args: list[str]) -> list[str]:
    """Places past their time."""
    return [job_id for job_id, at in ranked(server.zset(keys[0])) if at <= server.now][: int(args[0])]


def free(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Give up places past their time."""
    reserved = server.zset(keys[0])
    gone = [job_id for job_id in dict.fromkeys(args) if job_id in reserved and reserved[job_id] <= server.now]
    for job_id in gone:
        del reserved[job_id]
    return len(gone)


def tidy(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Forget what is kept about ids that are elsewhere."""
    gone = 0
    for kept, members in ((server.hash(keys[0]), server.zset(keys[1])), (server.hash(keys[2]), server.zset(keys[3]))):
        for job_id in dict.fromkeys(args):
            if job_id in kept and job_id not in members:
                del kept[job_id]
                gone += 1
    return gone


def adopt(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Count running jobs that are not here."""
    ready, delayed, inflight, reserved = map(server.zset, keys[:4])
    added = 0
    for job_id, claimed, token in groups(args, 1, int(args[0]), 3):
        reserved.pop(job_id, None)
        if not is_known((ready, delayed, inflight), job_id):
            inflight[job_id] = min(int(claimed), server.now)
            if token:
                server.hash(keys[4])[job_id] = token
            added += 1
    return added


def relocate(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Move waiting ids that are still where they were seen."""
    sets = {"ready": server.zset(keys[0]), "delayed": server.zset(keys[1])}
    wake, moves, seen = Wake(server, args[0], args[1]), [], set()
    for job_id, where, number, score, due in groups(args, 3, int(args[2]), 5):
        if sets[where].get(job_id) == int(number) and job_id not in seen:
            seen.add(job_id)
            moves.append((where, (job_id, int(score), int(due))))
    for where, (job_id, _, _) in moves:
        del sets[where][job_id]
        if where == "delayed":
            server.hash(keys[2]).pop(job_id, None)
    for _, entry in moves:
        place(server, sets["ready"], sets["delayed"], server.hash(keys[2]), entry, wake)
    wake.send()
    return len(moves)


def rescore(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Move waiting ids to another place."""
    ready, score_of, moved = server.zset(keys[0]), server.hash(keys[1]), 0
    for job_id, score in groups(args, 0, len(args) // 2, 2):
        if job_id in ready:
            ready[job_id] = int(score)
            moved += 1
        if job_id in score_of:
            score_of[job_id] = score
            moved += 1
    return moved


def begin_rebuild(server: RedisModel, keys: list[str], args: list[str]) -> str:
    """A marker that stands until something is lost."""
    marker: str | None = server.values.get(keys[1])
    if marker is None or not is_of_this_run(server, marker):
        marker = server.values[keys[1]] = f"{server.run_id}:{server.now_us()}"
    if not is_of_this_run(server, server.values.get(keys[0])):
        server.values.pop(keys[0], None)
    return marker


def finish_rebuild(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Declare the pool complete, if nothing was lost since the marker and it is not too late."""
    marker, epoch = args[0], server.values.get(keys[0])
    if epoch == marker and is_of_this_run(server, epoch):
        return 1
    if server.values.get(keys[1]) != marker or not is_of_this_run(server, marker):
        return 0
    if args[1] and server.now_us() // 1000 > int(args[1]):
        return 0
    server.values[keys[0]] = server.values.pop(keys[1])
    return 1


def pause(server: RedisModel, keys: list[str], args: list[str]) -> int:
    """Stop claims, or let them go on."""
    if args[1] == "1":
        server.values[keys[0]] = args[2]
    else:
        server.values.pop(keys[0], None)
        server.publish(args[0], "ready")
    return 1


def announce(server: RedisModel, keys: list[str], args: list[str]) -> str:
    """Events are hints that nobody reads here."""
    return "1-0"


SCRIPTS: dict[str, Script] = {
    script.__name__: script
    for script in (
        reserve, enqueue, refill, claim, remove, requeue, putback, sweep, promote, depths, in_flight, locate, expired,
        free, tidy, adopt, relocate, rescore, begin_rebuild, finish_rebuild, pause, announce,
    )
}  # fmt: skip
