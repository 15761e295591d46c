"""Pages and forms, as the tests of several files look at them."""

from __future__ import annotations

import re
from html.parser import HTMLParser

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
VOID = {"meta", "link", "br", "img", "input"}


class Checked(HTMLParser):
    """Finds tags that do not close in order, and what a strict policy would forbid."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.forbidden: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        self.links += [names[name] for name in ("href", "src") if names.get(name)]
        ours = str(names.get("src", "")).partition("/static/")[2]
        if tag == "style" or (tag in {"script", "img"} and not ours):
            self.forbidden.append(tag)
        if any(name.startswith("on") or name == "style" for name in names):
            self.forbidden.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


async def page(monitor, path: str, status: int = 200) -> str:
    """A page as a browser asks for it."""
    answer = await monitor.get(path, headers={"Accept": "text/html"})
    text = await answer.text()
    assert (answer.status, answer.content_type) == (status, "text/html"), text
    return text


def origin_of(client) -> dict[str, str]:
    """What a browser says about where a form is from."""
    return {"Origin": str(client.make_url("")).rstrip("/")}


async def form_token(client, path: str = "/login") -> str:
    """The token in the forms of a page."""
    return re.search(r'name="form_token" value="([0-9a-f]+)"', await page(client, path))[1]


async def sign_in(client, token: str, **fields: str):
    """Send the form to sign in."""
    data = {"token": token, "form_token": await form_token(client), **fields}
    return await client.post("/login", data=data, headers=origin_of(client), allow_redirects=False)
