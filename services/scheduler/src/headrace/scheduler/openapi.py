"""`python -m headrace.scheduler.openapi [FILE]`: the OpenAPI document of the scheduler, as it is committed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from headrace.runtime.web.app import api_document
from headrace.scheduler.routes import ROUTES


def text() -> str:
    """The document as indented JSON with a newline at its end."""
    return json.dumps(api_document(ROUTES, name="scheduler"), indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the document to the file named, or to standard output; returns the exit code."""
    if len(arguments) > 1:
        sys.stderr.write("usage: python -m headrace.scheduler.openapi [FILE]\n")
        return 2
    if arguments:
        Path(arguments[0]).write_text(text(), encoding="utf-8")
    else:
        sys.stdout.write(text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
