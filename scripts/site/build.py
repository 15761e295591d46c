"""Build the documentation site: `python build.py OUTPUT [--serve PORT]`. Warnings are errors.

Runs in an environment with requirements/docs.txt, which `make docs` makes. A page that would load anything from another
machine is an error too.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import re
import sys
from pathlib import Path

from sphinx.cmd.build import main as sphinx
from stage import stage

HERE = Path(__file__).resolve().parent


def foreign(site: Path) -> list[str]:
    """What the pages would load from elsewhere when they are opened; links that a reader may click do not count."""
    loads = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"'> ]+)")
    styles = re.compile(r"(?:@import|url\()\s*[\"']?((?:https?:)?//[^\"')]+)")
    found = []
    for file in sorted(site.rglob("*")):
        if file.suffix in {".html", ".css"}:
            text = file.read_text(encoding="utf-8")
            found += [f"{file.relative_to(site)} loads {address}" for address in loads.findall(text)]
            found += [f"{file.relative_to(site)} loads {address}" for address in styles.findall(text)]
    return found


def main() -> int:
    """Stage the pages, build them, and show them if that was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--serve", type=int, metavar="PORT", help="show the site on this loopback port until Ctrl-C")
    arguments = parser.parse_args()
    staged = arguments.output.parent / "site-pages"
    stage(staged)
    # --fresh-env: pages are few, and an old environment would hide a warning that was told once.
    words = ["--fail-on-warning", "--keep-going", "--fresh-env", "--quiet", "--nitpicky", "-j", "auto"]
    code = sphinx([*words, "-c", str(HERE), "-b", "html", str(staged), str(arguments.output)])
    if code == 0 and (loaded := foreign(arguments.output)):
        print(*loaded, "the site must work without a network", sep="\n", file=sys.stderr)
        code = 1
    if code == 0:
        print(f"{arguments.output / 'index.html'}")
    if code == 0 and arguments.serve is not None:
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(arguments.output))
        with http.server.ThreadingHTTPServer(("127.0.0.1", arguments.serve), handler) as server:
            print(f"http://127.0.0.1:{arguments.serve}/")
            server.serve_forever()
    return code


if __name__ == "__main__":
    sys.exit(main())
