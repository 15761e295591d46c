"""What people and scripts type about jobs, against a real scheduler and a real worker."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from headrace.client import SyncClient
from headrace.client.cli.app import app

ID = r"[0-9a-f-]{36}"


@pytest.fixture
def client(services: Any) -> Any:
    with SyncClient(services.url) as client:
        yield client


def test_a_submission_prints_the_id_alone_so_that_a_script_can_keep_it(headrace: Any, client: SyncClient) -> None:
    found = headrace("submit", "noop", '{"note": "x"}', "--priority", "high", "--tag", "a=b", "--tag", "c:d")
    job = client.wait(found.stdout.strip(), timeout=10)
    assert (job.payload, job.priority, job.tags) == ({"note": "x"}, "high", {"a": "b", "c": "d"})


def test_every_option_of_a_submission_reaches_the_server(headrace: Any) -> None:
    key = uuid.uuid4().hex
    words = ("submit", "noop", "--run-at", "2100-01-01T00:00:00", "--timeout", "60", "--max-retries", "7")
    words += ("--expires-in", "5", "--unique-key", key, "--key", key)
    job = headrace.json(*words)
    assert (job["run_at"], job["timeout_seconds"], job["max_retries"]) == ("2100-01-01T00:00:00.000Z", 60, 7)
    assert job["unique_key"] == key
    assert headrace.json(*words)["id"] == job["id"], "the same key gives the same job"
    refused = headrace("submit", "noop", "--delay", "99", "--unique-key", key, code=3)
    assert f"headrace watch {job['id']}" in refused.stderr
    assert headrace.json("cancel", job["id"])["state"] == "cancelled"


def test_a_payload_comes_from_the_line_from_standard_input_or_from_a_file(headrace: Any, tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"note": "from a file"}')
    assert headrace.json("submit", "noop", f"@{file}")["payload"] == {"note": "from a file"}
    assert headrace.json("submit", "noop", "-", stdin='{"note": "piped"}')["payload"] == {"note": "piped"}
    assert headrace.json("submit", "noop")["payload"] == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("submit", "noop", "{x}"), "single quotes"),
        (("submit", "noop", "@/nowhere/x.json"), "cannot be read"),
        (("submit", "noop", "--tag", "nothing"), "NAME=VALUE"),
        (("submit", "noop", "--run-at", "tomorrow"), "--run-at must be a time such as"),
        (("submit", "noop", "{}", "--lines", "x"), "exclude each other"),
        (("submit", "noop", "--lines", "/nowhere/x"), "cannot be read"),
        (("watch", "x", "--type", "noop"), "excludes"),
        (("pools", "resize", "default"), "at least one"),
        (("pools", "resize", "default", "--max-slots", "-1"), "whole number"),
        (("dead", "replay", "--type", "none", "--yes", "--limit", "0"), "greater than or equal to 1"),
        (("list", "--state", "lost"), "lost"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_what_cannot_be_meant_ends_with_2_and_says_what_can(headrace: Any, words: tuple[str, ...], said: str) -> None:
    assert said in headrace(*words, code=2).stderr


def test_following_ends_as_the_job_does(headrace: Any) -> None:
    done = headrace("submit", "test.steps", '{"steps": 3, "seconds": 0.02}', "--follow")
    assert "100%  completed" in done.stdout
    assert done.stdout.splitlines()[-1] == "3"
    failed = headrace("submit", "test.fail", '{"how": "permanent", "message": "no luck"}', "--follow", code=1)
    assert "PermanentError: no luck" in failed.stdout
    assert "headrace replay" in failed.stdout
    waiting = headrace("submit", "noop", "--delay", "3600").stdout.strip()
    headrace("cancel", waiting)
    headrace("watch", waiting, code=1)


def test_following_in_json_prints_the_job_at_its_end_and_watching_its_events(headrace: Any) -> None:
    job = headrace.json("submit", "test.sleep", '{"seconds": 0.01, "result": [1, null]}', "--follow")
    assert (job["state"], job["result"]) == ("completed", [1, None])
    events = headrace.lines("watch", job["id"])
    assert [event["event"] for event in events] == ["job.snapshot", "job.completed"]
    assert events[-1]["job"]["id"] == job["id"]


def test_many_jobs_from_a_file_each_with_a_key_of_its_own(headrace: Any, tmp_path: Path) -> None:
    file, key = tmp_path / "jobs.jsonl", uuid.uuid4().hex
    file.write_text('{}\n\n{"note": "b"}\n{"note": 7}\n')
    found = headrace.json("submit", "noop", "--lines", str(file), "--key", key, code=3)
    assert (found["submitted"], [item["line"] for item in found["refused"]]) == (2, [4])
    assert headrace.json("submit", "noop", "--lines", str(file), "--key", key, code=3)["ids"] == found["ids"]
    told = headrace("submit", "noop", "--lines", "-", stdin="{}\n{}\n", code=0).stdout
    assert told == "2 submitted, 0 refused\n"
    ended = headrace.json("submit", "test.fail", "--lines", "-", "--follow", "--max-retries", "0", stdin="{}\n", code=1)
    assert ended["states"] == {"failed": 1}
    assert "line 2 must be a JSON value" in headrace("submit", "noop", "--lines", "-", stdin="{}\n{", code=2).stderr


def test_status_list_history_and_why_tell_people_how_jobs_stand(headrace: Any) -> None:
    tag = uuid.uuid4().hex[:8]
    later = headrace("submit", "noop", '{"note": "n"}', "--delay", "3600", "--tag", f"t={tag}").stdout.strip()
    over = headrace("submit", "test.fail", '{"how": "permanent"}', "--tag", f"t={tag}").stdout.strip()
    headrace("watch", over, code=1)
    shown = headrace("status", later).stdout
    assert f"t={tag}" in shown
    assert "queued (in 60 min)" in shown
    assert f"headrace why {later}" in shown
    assert "PermanentError: asked to fail" in headrace("status", over).stdout
    both = headrace("status", later, over).stdout
    assert len(both.splitlines()) == 3
    assert [job["id"] for job in headrace.json("status", later, over)] == [later, over]
    listed = headrace("list", "--tag", f"t={tag}", "--limit", "1").stdout
    assert over in listed
    page = headrace.json("list", "--tag", f"t={tag}", "--limit", "1")
    following = headrace.json("list", "--tag", f"t={tag}", "--cursor", page["next_cursor"])
    assert [job["id"] for job in following["jobs"]] == [later]
    assert "no jobs match" in headrace("list", "--tag", f"t={tag}", "--state", "completed", "-p", "none").stdout
    assert "no jobs match" in headrace("list", "--created-before", "2000-01-01").stdout
    assert headrace("why", later).stdout.startswith("delayed ")
    assert headrace.json("why", over)["reasons"][0]["code"] == "terminal"
    assert "cancelled" in headrace("cancel", later).stdout
    steps = headrace("history", over).stdout
    assert "claimed" in steps
    assert "PermanentError" in steps
    assert [step["to"] for step in headrace.json("history", later)["transitions"]] == ["queued", "cancelled"]


def test_cancels_of_many_go_on_behind_one_that_is_refused(headrace: Any) -> None:
    ids = [headrace("submit", "noop", "--delay", "3600").stdout.strip() for _ in range(2)]
    found = headrace("cancel", ids[0], "0199aaaa-0000-7000-8000-00000000dead", ids[1], code=3)
    assert found.stdout.count("cancelled") == 2
    assert "no such job" in found.stderr


def test_a_replay_is_a_new_job(headrace: Any) -> None:
    old = headrace.json("submit", "noop", "--follow")["id"]
    new = headrace.json("replay", old)
    assert (new["replay_of"], new["id"] != old) == (old, True)
    assert "completed" in headrace("replay", old, "--follow").stdout
    assert headrace("replay", old).stdout.strip() != old
    waiting = headrace("submit", "noop", "--delay", "3600").stdout.strip()
    assert "cancel it first" in headrace("replay", waiting, code=3).stderr
    headrace("cancel", waiting)


def test_logs_show_what_a_job_said_and_wait_for_its_end(headrace: Any) -> None:
    job = headrace("submit", "test.fail", '{"how": "permanent"}').stdout.strip()
    headrace("logs", job, "--follow")
    assert "it has said nothing" in headrace("logs", job, "--attempt", "9").stdout
    for line in headrace.lines("logs", job):
        assert set(line) == {"seq", "attempt", "at", "level", "text"}


def test_refusals_name_code_field_and_what_to_try(headrace: Any) -> None:
    wrong = headrace("submit", "test.steps", '{"steps": 0, "x": 1}', code=3)
    assert "invalid-payload" in wrong.stderr
    assert "/payload/steps" in wrong.stderr
    assert "headrace types" in headrace("submit", "nosuch", code=3).stderr
    problem = json.loads(headrace("submit", "test.steps", '{"steps": 0}', "--json", code=3).stderr)["error"]
    assert (problem["code"], problem["status"]) == ("invalid-payload", 422)
    assert problem["errors"][0]["pointer"] == "/payload/steps"
    assert json.loads(headrace("status", "x", "--json", code=3).stderr)["error"]["code"] == "not-found"


def test_a_server_that_is_not_there_ends_with_4_and_says_what_to_try(headrace_at: Any, unused_tcp_port: int) -> None:
    headrace = headrace_at(f"http://127.0.0.1:{unused_tcp_port}")
    found = headrace("list", code=4)
    assert found.stdout == ""
    assert "headrace-local up" in found.stderr
    assert str(unused_tcp_port) in found.stderr
    assert json.loads(headrace("pools", "--json", code=4).stderr)["error"]["code"] == "not-reachable"
    elsewhere = headrace("--url", "http://127.0.0.1:9", "list", code=4)
    assert "127.0.0.1:9" in elsewhere.stderr
    assert "base_url" in headrace("--url", "nonsense", "list", code=2).stderr
    assert "exclude" in headrace("list", code=2, HEADRACE_TOKEN="a", HEADRACE_TOKEN_FILE="b").stderr


def leaves(command: Any, *path: str) -> list[tuple[str, ...]]:
    """Every command that can be typed."""
    inner = getattr(command, "commands", {})
    own = [path] if path and (not inner or command.invoke_without_command) else []
    return own + [leaf for name, found in inner.items() for leaf in leaves(found, *path, name)]


def test_every_command_takes_json_and_explains_itself(headrace: Any) -> None:
    found = leaves(get_command(app))
    promised = ["submit", "status", "watch", "list", "cancel", "replay", "why", "logs", "dead", "pools", "types", "top"]
    assert {("token", "new"), *((name,) for name in promised)} <= set(found)
    for words in found:
        assert "--json" in headrace(*words, "--help").stdout, words
    assert headrace("--version").stdout.startswith("headrace ")
    assert "Exit codes" in headrace("--help").stdout
