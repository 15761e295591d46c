"""`headrace token new`: make a token and the table for the servers' file. Asks nobody."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from typing import Annotated

import typer

from headrace.client.cli.output import Output
from headrace.client.cli.problems import ExitCode, UsageError
from headrace.client.cli.session import AsJson, fail
from headrace.client.environment import Access

SCOPES = ("submit", "read", "operate", "admin")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")

app = typer.Typer(no_args_is_help=True, help="Make tokens.")


@app.callback()
def token() -> None:
    """Make tokens for JOB_API_TOKENS_FILE."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the file and the audit log call it.")],
    *,
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scopes", "-s", metavar="SCOPE,...", help="Of submit, read, operate, admin. Default: submit,read."
        ),
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only this tenant's jobs exist for it.")] = None,
    rate: Annotated[float | None, typer.Option(metavar="N", help="How many jobs a second it may submit.")] = None,
    burst: Annotated[int | None, typer.Option(metavar="N", help="How many jobs at once, beside --rate.")] = None,
    share: Annotated[
        int | None, typer.Option(metavar="N", help="How much of a pool its tenant may fill, in %.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, once, with the table to paste into JOB_API_TOKENS_FILE."""
    output = Output(as_json=as_json)
    try:
        text, digest, table = make_token(name, scopes, tenant=tenant, rate=rate, burst=burst, share=share)
    except UsageError as error:
        fail(error, output, Access())
        raise typer.Exit(int(ExitCode.USAGE)) from None
    if as_json:
        output.document({"name": name, "token": text, "hash": digest, "table": table})
        return
    output.say("The token, which nobody can show again; clients take it as HEADRACE_TOKEN:", style="dim")
    output.say(text)
    output.say("\nThe table for the file that JOB_API_TOKENS_FILE names:", style="dim")
    output.say(table.rstrip())


def make_token(
    name: str,
    scopes: list[str] | None = None,
    *,
    tenant: str | None = None,
    rate: float | None = None,
    burst: int | None = None,
    share: int | None = None,
) -> tuple[str, str, str]:
    """A new token, its digest, and its table as TOML.

    Raises:
        UsageError: A field breaks a rule of the servers' file.
    """
    if not _NAME.fullmatch(name):
        raise UsageError("NAME must be 1 to 100 of letters, digits, '_' and '-'")
    wanted = [scope.strip() for given in scopes or ["submit,read"] for scope in given.split(",")]
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown:
        raise UsageError(f"--scopes must be of {', '.join(SCOPES)}, not {unknown[0]!r}")
    if tenant is not None and not (1 <= len(tenant) <= 100 and tenant.isprintable()):
        raise UsageError("--tenant must have 1 to 100 printable characters")
    if burst is not None and rate is None:
        raise UsageError("--burst needs --rate")
    if rate is not None and not 0.001 <= rate <= 1_000_000:
        raise UsageError("--rate must be from 0.001 to 1000000")
    if burst is not None and not 1 <= burst <= 1_000_000:
        raise UsageError("--burst must be from 1 to 1000000")
    if share is not None and (tenant is None or not 1 <= share <= 100):
        raise UsageError("--share must be from 1 to 100, beside --tenant")
    text = "hr_" + secrets.token_urlsafe(32)
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    fields: dict[str, object] = {"hash": digest, "scopes": list(dict.fromkeys(wanted)), "tenant": tenant}
    fields |= {"rate": rate, "burst": burst, "share": share}
    # Printable texts, numbers and lists of texts are written alike in JSON and in TOML.
    lines = [
        f"{field} = {json.dumps(value, ensure_ascii=False)}" for field, value in fields.items() if value is not None
    ]
    return text, digest, "\n".join([f"[{name}]", *lines]) + "\n"
