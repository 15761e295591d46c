"""The pages of the site, made from the files of the repository: links follow, diagrams become pictures.

The pages stay what one reads in the repository; everything that only a site needs happens here.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path

from api_page import reference
from diagrams import svg

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OPENAPI = "services/scheduler/openapi.json"
ELSEWHERE = {
    "SECURITY.md": "security-policy.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    OPENAPI: "http-api-reference.md",
    "docs/decisions": "decisions/index.md",
    "docs/decisions/README.md": "decisions/index.md",
}
"""Pages whose home is not below docs/ or that have another name on the site."""
_LINK = re.compile(r"(?<!`)(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_LONG = re.compile(r"`([\w./:-]{32,})`")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def pages() -> Iterator[tuple[Path, str]]:
    """Each file that is a page, with the page's name on the site."""
    for file in sorted(DOCS.rglob("*.md")):
        name = file.relative_to(ROOT).as_posix()
        yield file, ELSEWHERE.get(name, name.removeprefix("docs/"))
    for name in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        yield ROOT / name, ELSEWHERE[name]


def stage(folder: Path) -> None:
    """Write all pages and what they show below an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS / "img", folder / "img")
    for file, name in pages():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page(file, name, folder), encoding="utf-8")
    document = json.loads((ROOT / OPENAPI).read_text(encoding="utf-8"))
    (folder / ELSEWHERE[OPENAPI]).write_text(reference(document), encoding="utf-8")


def page(file: Path, name: str, folder: Path) -> str:
    """One page's text for the site."""
    text = file.read_text(encoding="utf-8")
    if name == "index.md":
        text = with_navigation(text)
    if name == "decisions/index.md":
        text += decisions()
    parts, at = [], 0
    for fence in _FENCE.finditer(text):
        parts.append(links(text[at : fence.start()], file, name, folder))
        parts.append(f'<div class="picture">\n{svg(fence[2])}\n</div>\n' if fence[1] == "mermaid" else fence[0])
        at = fence.end()
    return "".join([*parts, links(text[at:], file, name, folder)])


def links(text: str, file: Path, name: str, folder: Path) -> str:
    """A text whose links lead to the site's pages, or to copies of other files."""
    up = "../" * name.count("/")

    def follow(found: re.Match[str]) -> str:
        image, words, link = found.groups()
        if re.match(r"[a-z]+:|#", link):
            return found[0]
        path, hash_, anchor = link.partition("#")
        target = (file.parent / path).resolve()
        home = target.relative_to(ROOT).as_posix()
        if home in ELSEWHERE or home.startswith("docs/"):
            return f"{image}[{words}]({up}{ELSEWHERE.get(home, home.removeprefix('docs/'))}{hash_}{anchor})"
        if target.is_dir():
            return words if words.startswith("`") else f"`{words}`"
        copy = folder / "files" / home
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(target, copy)
        return f"[{words}]({up}files/{home})"

    return _LONG.sub(_breakable, _LINK.sub(follow, text))


def _breakable(found: re.Match[str]) -> str:
    """A long name as code that may be broken where a reader would: a table cannot be as wide as a test's name."""
    return '<code class="literal">' + re.sub(r"(::|[/_])", r"<wbr>\1", escape(found[1])) + "</code>"


def with_navigation(index: str) -> str:
    """The index with the README's picture and promises, and each section's links as a part of the navigation."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    picture = _FENCE.search(readme)
    promises = re.search(r"^## What is promised\n\n(?:(?:- |  ).*\n)+", readme, re.MULTILINE)
    if picture is None or picture[1] != "mermaid" or promises is None:
        raise ValueError("README.md lacks its picture or the list of promises: the site's first page shows both")
    first, *sections = re.split(r"^(?=## )", index, flags=re.MULTILINE)
    trees = []
    for section in sections:
        title = section.partition("\n")[0].removeprefix("## ")
        names = [ELSEWHERE.get(link.removeprefix("../"), link) for _, _, link in _LINK.findall(section)]
        names = [ELSEWHERE.get(f"docs/{name}", name).removesuffix(".md") for name in names]
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(names) + "\n```\n\n")
    return "".join([first, picture[0], "\n\n", promises[0], "\n", *sections, "\n\n", *trees])


def decisions() -> str:
    """The navigation of the decisions; their list is the page's own."""
    files = sorted(file for file in (DOCS / "decisions").glob("*.md") if file.name != "README.md")
    return "\n```{toctree}\n:hidden:\n\n" + "\n".join(file.stem for file in files) + "\n```\n"
