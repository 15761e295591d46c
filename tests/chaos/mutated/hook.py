"""Changes modules right after their import, and leaves a mark that it did."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

Patch = Callable[[Any], None]


class Changing(Loader):
    """Loads a module as always, then changes it."""

    def __init__(self, loader: Any, patch: Patch, mark: Path) -> None:
        self._loader = loader
        self._patch = patch
        self._mark = mark

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As always."""
        found: ModuleType | None = self._loader.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        """As always, and then."""
        self._loader.exec_module(module)
        self._patch(module)
        self._mark.touch()


class Finder(MetaPathFinder):
    """Finds the modules that are to be changed; each once."""

    def __init__(self, patches: dict[str, Patch], marks: Path) -> None:
        self._patches = patches
        self._marks = marks

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The usual spec with a loader of ours."""
        patch = self._patches.pop(fullname, None)
        if patch is None:
            return None
        spec = find_spec(fullname)
        if spec is not None:
            spec.loader = Changing(spec.loader, patch, self._marks / fullname)
        return spec


def install(name: str) -> None:
    """Change what the mutant `name` changes.

    Raises:
        KeyError: There is no such mutant.
    """
    patches: dict[str, Patch] = dict(importlib.import_module("mutations").PATCHES[name])
    sys.meta_path.insert(0, Finder(patches, Path(os.environ["HEADRACE_MUTANT_MARKS"])))
