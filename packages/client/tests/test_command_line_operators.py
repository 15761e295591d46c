"""What operators type, against a real scheduler and a real worker."""

from __future__ import annotations

import tomllib
import uuid
from pathlib import Path
from typing import Any

import pytest

from headrace.client import Client
from headrace.client.cli.submit_lines import _submit_all
from headrace.client.cli.token import make_token
from headrace.client.cli.words import age, bar, clean, span, spark
from headrace.runtime.web.auth import Scope, TokenTable


def fail(headrace: Any, message: str, count: int = 1) -> list[str]:
    lines = f'{{"how": "permanent", "message": "{message}"}}\n' * count
    ids: list[str] = headrace.json("submit", "test.fail", "--lines", "-", "--follow", stdin=lines, code=1)["ids"]
    return ids


def test_dead_letters_are_listed_grouped_replayed_and_discarded(headrace: Any) -> None:
    message = f"lost {uuid.uuid4().hex[:6]}"
    ids = fail(headrace, message, count=3)
    assert ids[-1] in headrace("dead", "--type", "test.fail").stdout
    page = headrace.json("dead", "--type", "test.fail", "--limit", "2")
    assert [job["id"] for job in page["jobs"]] == ids[:0:-1]
    assert "--cursor" in headrace("dead", "--type", "test.fail", "--limit", "2").stdout
    (group,) = [
        g for g in headrace.json("dead", "groups", "--type", "test.fail")["groups"] if message in g["sample_message"]
    ]
    assert group["count"] == 3
    assert group["fingerprint"] in headrace("dead", "groups").stdout
    assert "no terminal" in headrace("dead", "discard", ids[0], code=2).stderr
    told = headrace("dead", "replay", ids[0], ids[1], "--dry-run").stdout
    assert told == "2 matched, 2 would be replayed, 0 refused\n"
    assert headrace.json("dead", "replay", ids[0], "--yes") == {"matched": 1, "done": 1, "refused": []}
    again = headrace("dead", "replay", ids[0], "--yes", code=3)
    assert f"{ids[0]}  duplicate-job" in again.stdout
    assert headrace.json("dead", "discard", *ids, "--yes")["done"] == 3
    which = ("--fingerprint", group["fingerprint"])
    left = {job["id"] for job in headrace.json("dead", *which)["jobs"]}
    assert not left & set(ids), "only the replay, which fails again, may be there"
    assert headrace("dead", "groups", "-t", "noop").stdout == "no dead letters\n"


def test_pools_are_shown_paused_resumed_and_resized(headrace: Any) -> None:
    shown = headrace("pools").stdout
    assert {"crawl", "default", "test"} <= {line.split()[0] for line in shown.splitlines()}
    assert {pool["name"] for pool in headrace.json("pools")["pools"]} >= {"crawl", "default", "test"}
    assert "paused: for a test" in headrace("pools", "pause", "crawl", "--reason", "for a test").stdout
    waiting = headrace("submit", "crawl", '{"start_urls": ["http://127.0.0.1:9/"]}').stdout.strip()
    assert headrace.json("why", waiting)["reasons"][0]["code"] == "paused"
    headrace("cancel", waiting)
    assert headrace.json("pools", "resume", "crawl")["paused"] is False
    assert headrace.json("pools", "resize", "crawl", "--size-limit", "7", "--max-slots", "2")["size_limit"] == 7
    assert "size limit 7" in headrace("pools", "show", "crawl").stdout
    assert headrace.json("pools", "resize", "crawl", "--size-limit", "default", "--min-slots", "default") != 7
    assert "error: " in headrace("pools", "show", "nosuch", code=3).stderr


def test_types_breakers_and_the_audit_log_are_shown(headrace: Any) -> None:
    assert "test.steps" in headrace("types").stdout
    assert '"properties"' in headrace("types", "test.steps").stdout
    assert headrace.json("types", "noop")["pool"] == "default"
    assert {item["type"] for item in headrace.json("types")["types"]} >= {"noop", "crawl"}
    assert "near: test.steps" in headrace("types", "test.stepps", code=3).stderr
    assert headrace("breakers").stdout == "no breaker is open\n"
    assert headrace.json("breakers") == {"breakers": []}
    assert "no breaker" in headrace("breakers", "--reset", "mail", code=3).stderr
    headrace("pools", "pause", "crawl")
    headrace("pools", "resume", "crawl")
    assert [entry["what"] for entry in headrace.json("audit", "-n", "2")["entries"]] == ["resume", "pause"]
    assert "crawl" in headrace("audit").stdout


def test_top_shows_the_whole_once_where_there_is_no_terminal(headrace: Any) -> None:
    job = headrace("submit", "test.steps", '{"steps": 200, "seconds": 0.05}').stdout.strip()
    for _ in range(200):
        (picture,) = headrace.lines("top", "--once")
        if any(found["id"] == job and found["progress"] for found in picture["running"]):
            break
    else:
        pytest.fail("the running job was never shown")
    shown = headrace("top", "--pool", "test").stdout
    assert job in shown
    assert "of 200 steps" in shown
    assert "default" not in shown
    headrace("cancel", job)
    headrace("watch", job, code=1)


def test_a_new_token_is_what_the_servers_file_takes(headrace: Any, tmp_path: Path) -> None:
    limits = ("--tenant", "acme é", "--rate", "5", "--burst", "9", "--share", "50")
    made = headrace.json("token", "new", "ci", "-s", "submit,operate", "-s", "read", *limits)
    file = tmp_path / "tokens.toml"
    file.write_text(made["table"], encoding="utf-8")
    token = TokenTable.load(file).find(made["token"])
    assert token is not None
    assert (token.name, token.tenant, token.share) == ("ci", "acme é", 50)
    assert token.scopes == {Scope.SUBMIT, Scope.OPERATE, Scope.READ}
    assert token.rate is not None
    assert (token.rate.per_second, token.rate.burst) == (5, 9)
    text, _, table = make_token("x")
    assert tomllib.loads(table)["x"]["scopes"] == ["submit", "read"]
    assert text not in table
    assert "[ci]" in headrace("token", "new", "ci").stdout


@pytest.mark.parametrize(
    "words",
    ["a b", "x -s write", "x --burst 3", "x --rate 0", "x --rate 1 --burst 0", "x --share 5", "x --tenant \x7f"],
)
def test_a_token_that_the_servers_would_refuse_is_not_made(headrace: Any, words: str) -> None:
    given = [words] if words == "a b" else words.split(" ")
    assert "error: " in headrace("token", "new", *given, code=2).stderr


async def test_a_full_pool_is_waited_for_and_the_rest_keeps_its_place(
    server: Any, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.client.cli.submit_lines._ROOM_SECONDS", 0)
    full = {"type": "/problems/queue-full", "title": "t", "status": 429, "detail": "full"}
    wrong = {"type": "/problems/invalid-payload", "title": "t", "status": 422, "detail": "d"}
    taken = {"index": 0, "status": 201, "job": server.job(id="first")}
    answers = [
        {
            "results": [
                taken,
                {"index": 1, "status": 429, "problem": full},
                {"index": 2, "status": 422, "problem": wrong},
            ]
        },
        {"results": [{"index": 0, "status": 201, "job": server.job(id="second")}]},
    ]
    server.answers = [server.json(answer) for answer in answers]
    jobs = [{"type": "noop", "payload": {}, "idempotency_key": str(n)} for n in range(3)]
    outcomes = await _submit_all(client, jobs, None)
    assert [getattr(outcome, "id", None) or outcome.code for outcome in outcomes] == [
        "first",
        "second",
        "invalid-payload",
    ]
    assert [job["idempotency_key"] for job in server.requests[1][3]["jobs"]] == ["1"]


def test_strangers_text_cannot_act_on_the_terminal(headrace: Any) -> None:
    evil = "\\u001b]0;owned\\u0007\\u202e\\u009b31m[bold]x[/bold]"
    (job,) = fail(headrace, evil)
    for words in (("status", job), ("history", job), ("dead",), ("dead", "groups"), ("top",), ("watch", job)):
        shown = headrace(*words, code=1 if words[0] == "watch" else 0).stdout
        assert not set("\x1b\x07\u202e\x9b") & set(shown), words
    assert "\\x1b]0;owned\\x07\\u202e\\x9b31m[bold]x[/bold]" in headrace("status", job).stdout
    assert clean("a\tb\n c\ud800", one_line=True) == "a b c\\ud800"
    assert clean("abcdef", limit=4) == "abc…"
    headrace("dead", "discard", job, "--yes")


def test_amounts_are_written_for_people() -> None:
    assert [span(seconds) for seconds in (0.0123, 1.26, 59, 150, 7201, 900_000)] == [
        "12 ms", "1.3 s", "59 s", "2 min", "2 h", "10 d",
    ]  # fmt: skip
    assert age(None) == ""
    assert bar(0.5, 4) == "██░░"
    assert bar(7, 2) == "██"
    assert spark([0, 5, 10]) == "▁▄█"
    assert spark([0.0]) == "▁"
