from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import ConfigError
from headrace.runtime.web.app import load_tokens
from headrace.runtime.web.auth import TOKEN, Rate, Scope, Token, TokenTable, hash_token
from headrace.runtime.web.responses import json_response
from headrace.runtime.web.routes import Route

HASH = hash_token("s3cret-reader")


@pytest.fixture
def tokens(tmp_path: Path) -> TokenTable:
    return table(
        tmp_path,
        f'[reader]\nhash = "{HASH}"\nscopes = ["read"]\ntenant = "acme"\n'
        f'[boss]\nhash = "{hash_token("boss")}"\nscopes = ["admin"]\n',
    )


def table(folder: Path, text: str) -> TokenTable:
    path = folder / "tokens.toml"
    path.write_text(text)
    return TokenTable.load(path)


async def whoami(request: web.Request) -> web.Response:
    token = request[TOKEN]
    return json_response({"name": token.name, "tenant": token.tenant})


ROUTES = [Route("GET", f"/{scope}", whoami, scope=scope) for scope in Scope]


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_the_digest_is_sha256_in_hex():
    assert hash_token("") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_token_is_found_by_its_text_alone(tokens):
    assert tokens.find("s3cret-reader") == Token("reader", frozenset({Scope.READ}), "acme")
    assert tokens.find("s3cret-reade") is None
    assert tokens.find(HASH) is None
    assert tokens.find("x" * 513) is None


def test_without_a_file_there_is_no_table_and_with_one_there_is(tmp_path):
    assert load_tokens(JobConfig()) is None
    path = tmp_path / "t.toml"
    path.write_text(f'[a]\nhash = "{HASH}"\nscopes = ["read"]\n')
    assert load_tokens(JobConfig(api_tokens_file=path)) is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no token"),
        ("[a\n", "not TOML: error at line 1"),
        ("a = 1", "must be a table"),
        (f'[a]\nhash = "{HASH}"\nscopes = ["read"]\nscope = 1', "scope is not a field"),
        ('[a]\nhash = "plain"\nscopes = ["read"]', "64 hex digits"),
        (f'[a]\nhash = "{HASH}"', "scopes must be a list"),
        (f'[a]\nhash = "{HASH}"\nscopes = ["root"]', "scopes must be a list"),
        (f'[a]\nhash = "{HASH}"\nscopes = ["read"]\ntenant = ""', "tenant must be"),
        (f'[a]\nhash = "{HASH}"\nscopes = ["read"]\n[b]\nhash = "{HASH}"\nscopes = ["read"]', r"\[b\] has the hash of"),
    ],
)
def test_a_wrong_file_is_refused_with_table_and_rule_but_without_digests(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words) as refused:
        table(tmp_path, text)
    assert "e3b0" not in str(refused.value)
    assert HASH not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        TokenTable.load(tmp_path / "missing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        TokenTable.load(tmp_path / "binary")


async def test_without_tokens_everybody_is_the_local_admin(serve):
    client = await serve(*ROUTES)
    assert await (await client.get("/admin")).json() == {"name": "local", "tenant": None}


async def test_a_token_opens_what_its_scopes_say(serve, tokens):
    client = await serve(*ROUTES, tokens=tokens)
    reader = await client.get("/read", headers={"Authorization": "bearer   s3cret-reader"})
    assert await reader.json() == {"name": "reader", "tenant": "acme"}
    for scope in Scope:
        assert (await client.get(f"/{scope}", headers=bearer("boss"))).status == 200
    refused = await client.get("/submit", headers=bearer("s3cret-reader"))
    assert (refused.status, (await refused.json())["type"]) == (403, "/problems/forbidden")


@pytest.mark.parametrize("value", ["Bearer wrong", "Bearer", "Basic czNjcmV0", "s3cret-reader", "Bearer a b", "\x80"])
async def test_a_wrong_token_is_unauthorized_and_never_repeated(serve, tokens, value):
    client = await serve(*ROUTES, tokens=tokens)
    answer = await client.get("/read", headers={"Authorization": value})
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    body = await answer.text()
    assert "/problems/unauthorized" in body
    assert "wrong" not in body


async def test_no_token_or_two_are_unauthorized(serve, tokens):
    client = await serve(*ROUTES, tokens=tokens)
    assert (await client.get("/read")).status == 401
    two = [("Authorization", "Bearer boss"), ("Authorization", "Bearer boss")]
    assert (await client.get("/read", headers=two)).status == 401


async def test_the_probes_are_open_and_the_document_is_not(serve, tokens):
    client = await serve(*ROUTES, tokens=tokens)
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await client.get(path)).status == 200
    assert (await client.get("/openapi.json")).status == 401
    assert (await client.get("/openapi.json", headers=bearer("s3cret-reader"))).status == 200


RATED = f'hash = "{HASH}"\nscopes = ["submit"]\n'


def test_a_token_may_have_a_rate_and_its_tenant_a_share(tmp_path):
    found = table(tmp_path, f'[a]\n{RATED}tenant = "acme"\nrate = 2.5\nshare = 40\n').find("s3cret-reader")
    assert found == Token("a", frozenset({Scope.SUBMIT}), "acme", Rate(2.5, 3), 40)
    assert table(tmp_path, f"[a]\n{RATED}rate = 100\nburst = 200\n").all()[0].rate == Rate(100.0, 200)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("burst = 5", "burst needs a rate"),
        ("rate = 0", "rate must be a number"),
        ("rate = true", "rate must be a number"),
        ('rate = "fast"', "rate must be a number"),
        ("rate = 1\nburst = 0", "burst must be a whole number"),
        ("rate = 1\nburst = 1.5", "burst must be a whole number"),
        ("share = 50", "share needs a tenant"),
        ('tenant = "t"\nshare = 0', "share must be a whole number of percent"),
        ('tenant = "t"\nshare = 101', "share must be a whole number of percent"),
    ],
)
def test_a_wrong_rate_or_share_is_named(tmp_path, lines, message):
    with pytest.raises(ConfigError, match=message):
        table(tmp_path, f"[a]\n{RATED}{lines}\n")


def test_the_tokens_of_a_tenant_must_agree(tmp_path):
    other = f'[b]\nhash = "{hash_token("b")}"\nscopes = ["read"]\ntenant = "acme"\nrate = 3\n'
    with pytest.raises(ConfigError, match="one rate, burst and share"):
        table(tmp_path, f'[a]\n{RATED}tenant = "acme"\nrate = 2\n{other}')
