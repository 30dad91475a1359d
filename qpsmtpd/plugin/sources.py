# SPDX-License-Identifier: MIT
"""Sources: the administrator's own Python files, in the directories of `plugin_dirs`."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from qpsmtpd.errors import PluginError

_LOCAL = "qpsmtpd_local."


def import_file(path: Path, name: str) -> ModuleType:
    """The module in this file, as it is now.  Raises PluginError with the place of the fault.

    Its name in `sys.modules` is `qpsmtpd_local.` and the given name.
    """
    module = _LOCAL + name
    spec = importlib.util.spec_from_file_location(
        module, path, loader=_SourceLoader(module, str(path))
    )
    assert spec is not None
    assert spec.loader is not None
    imported = importlib.util.module_from_spec(spec)
    # The type hints of its options are looked up here.
    sys.modules[module] = imported
    try:
        spec.loader.exec_module(imported)
    except (Exception, SystemExit) as error:
        del sys.modules[module]
        text = f"{place_of(error, path)}: {type(error).__name__}: {error}"
        raise PluginError(f"cannot be loaded: {text}") from error
    return imported


def place_of(error: BaseException, path: Path | None = None) -> str:
    """FILE:LINE where an exception came from: the innermost place, in `path` if given."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if path is None or frame.filename == str(path)]
    return f"{inside[-1].filename}:{inside[-1].lineno}" if inside else str(path or "")


class _SourceLoader(SourceFileLoader):
    """Loads what the file says now, and leaves no compiled file behind."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code
