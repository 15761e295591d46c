"""Python runs this at its start when this folder is on PYTHONPATH: a mutant's services change as they are imported.

Honoured in test mode only. The product knows nothing of it.
"""

from __future__ import annotations

import importlib
import os

_NAME = os.environ.get("HEADRACE_MUTANT", "")
if _NAME and os.environ.get("JOB_TEST_MODE") == "1":
    importlib.import_module("hook").install(_NAME)
