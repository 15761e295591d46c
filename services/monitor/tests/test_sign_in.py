from __future__ import annotations

from collections.abc import Callable

import pytest
from monitor_pages import form_token, origin_of, sign_in
from yarl import URL

from headrace.monitor.site.sealed import Sealer, key_of
from headrace.runtime.web.auth import hash_token

TABLES = (("rita", '["read"]', ""), ("olga", '["read", "operate"]', ""), ("wanda", '["submit"]', ""))


@pytest.fixture
async def guarded(world, serve, tmp_path):
    path = tmp_path / "tokens.toml"
    path.write_text("\n".join(f'[{n}]\nhash = "{hash_token(n)}"\nscopes = {s}\n{rest}' for n, s, rest in TABLES))
    return await serve(world.config.model_copy(update={"api_tokens_file": path}))


async def test_a_page_asks_to_sign_in_and_leads_back_to_where_one_wanted_to(guarded):
    answer = await guarded.get("/jobs?state=failed", headers={"Accept": "text/html"}, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/login?next=%2Fjobs%3Fstate%3Dfailed")
    signed = await sign_in(guarded, "rita", next="/jobs?state=failed")
    assert (signed.status, signed.headers["Location"]) == (303, "/jobs?state=failed")
    cookie = signed.cookies["headrace_session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert "rita" not in cookie.value
    assert (await guarded.get("/jobs")).status == 200


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "", "/\n"])
async def test_signing_in_leads_to_pages_of_ours_only(guarded, wanted):
    assert (await sign_in(guarded, "rita", next=wanted)).headers["Location"] == "/"


@pytest.mark.parametrize(("token", "words"), [("nobody", "not known"), ("wanda", "may not read")])
async def test_a_token_that_is_wrong_or_may_not_read_is_refused(guarded, token, words):
    answer = await sign_in(guarded, token)
    assert answer.status == 401
    assert words in await answer.text()
    assert "headrace_session" not in answer.cookies


async def test_signing_out_ends_the_session_of_the_browser(guarded):
    await sign_in(guarded, "rita")
    data = {"form_token": await form_token(guarded, "/jobs")}
    answer = await guarded.post("/logout", data=data, headers=origin_of(guarded), allow_redirects=False)
    assert answer.headers["Location"] == "/login"
    assert (await guarded.get("/jobs")).status == 401


async def test_a_bearer_token_works_without_a_session_and_a_wrong_one_is_no_session(guarded):
    assert (await guarded.get("/jobs", headers={"Authorization": "Bearer rita"})).status == 200
    await sign_in(guarded, "rita")
    assert (await guarded.get("/jobs", headers={"Authorization": "Bearer nobody"})).status == 401


async def test_a_session_that_was_changed_is_none(guarded):
    signed = await sign_in(guarded, "rita")
    value = signed.cookies["headrace_session"].value
    broken = value[:-1] + ("A" if value[-1] != "A" else "B")
    guarded.session.cookie_jar.update_cookies({"headrace_session": broken}, URL(str(guarded.make_url("/"))))
    assert (await guarded.get("/jobs")).status == 401


def test_what_is_sealed_opens_with_its_key_until_its_end():
    now = [1000.0]
    sealer = Sealer(b"key", clock=lambda: now[0])
    sealed = sealer.seal("hello", seconds=10)
    assert sealer.open(sealed) == "hello"
    assert Sealer(b"key", clock=lambda: now[0]).open(sealed) == "hello"
    assert Sealer(b"other", clock=lambda: now[0]).open(sealed) is None
    assert sealer.seal("hello", seconds=10) != sealed
    for nonsense in ("", "x", "ä", "A" * 200, sealed + "A", sealed[4:]):
        assert sealer.open(nonsense) is None
    now[0] = 1011.0
    assert sealer.open(sealed) is None


def test_replicas_with_one_tokens_file_share_their_key_and_without_a_file_it_is_random():
    assert key_of(["b", "a"]) == key_of(["a", "b"]) != key_of(["a"])
    assert key_of([]) != key_of([])


async def post(client, headers: dict[str, str], change: Callable[[dict[str, str]], None] = lambda _: None) -> int:
    data = {"theme": "dark", "form_token": await form_token(client, "/jobs"), "next": "/jobs"}
    change(data)
    answer = await client.post("/theme", data=data, headers=headers, allow_redirects=False)
    return answer.status


async def test_forms_of_other_sites_are_refused(monitor):
    here = origin_of(monitor)
    assert await post(monitor, here) == 303
    assert await post(monitor, {"Sec-Fetch-Site": "same-origin"}) == 303
    for headers in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", **here},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert await post(monitor, headers) == 403, headers
    assert await post(monitor, here, lambda data: data.pop("form_token")) == 403
    assert await post(monitor, here, lambda data: data.update(form_token="ä")) == 403


async def test_without_tokens_a_foreign_name_for_this_machine_changes_nothing(monitor):
    headers = {"Host": "rebound.example:80", "Origin": "http://rebound.example:80"}
    assert await post(monitor, headers) == 403


async def test_only_forms_are_read(monitor):
    answer = await monitor.post("/theme", json={"theme": "dark"}, headers=origin_of(monitor))
    assert answer.status == 415


async def test_the_theme_is_kept_in_the_browser_and_unknown_ones_are_the_systems(monitor):
    await post(monitor, origin_of(monitor))
    assert 'data-theme="dark"' in await (await monitor.get("/jobs")).text()
    await post(monitor, origin_of(monitor), lambda data: data.update(theme="pink"))
    assert "data-theme" not in await (await monitor.get("/jobs")).text()


async def test_without_tokens_there_is_nothing_to_sign_in_to(monitor):
    answer = await monitor.get("/login", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
