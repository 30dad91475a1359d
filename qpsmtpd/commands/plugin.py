# SPDX-License-Identifier: MIT
"""`qpsmtpd plugin`: begins a plugin, and tests one."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qpsmtpd.commands.arguments import add_command, add_config, directories_of, silence
from qpsmtpd.commands.check_config import show
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.problems import errors_in
from qpsmtpd.config.settings import load_settings
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.workshop.loading import problems_of
from qpsmtpd.workshop.runner import run_tests
from qpsmtpd.workshop.scaffold import DEFAULT_HOOK, scaffold

_EPILOG = (
    "What new writes is a plugin NAME.py that works and refuses nothing, and NAME_test.py, which "
    "passes. What test finds is printed with file and line: what check-config would say of the "
    "plugin, and then which of its tests fail. They are run by pytest with pytest-asyncio if both "
    "are installed; without them, tests are functions that need no fixtures. The exit status of "
    "test is 1 if anything is wrong. How to write plugins is in qpsmtpd-plugin-api(7)."
)


def add_plugin(commands: Any) -> None:
    """Add the command `plugin`."""
    text = "Begin a plugin of your own, or test one."
    parser = add_command(commands, "plugin", _plugin, text)
    parser.add_argument(
        "action",
        choices=("new", "test"),
        metavar="ACTION",
        help="new writes a plugin with a test, and overwrites nothing; test loads a plugin, and "
        "runs the test beside it",
    )
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="the name of a new plugin (lower-case letters, digits and _), or the file of one",
    )
    parser.add_argument(
        "words", nargs="*", metavar="ARGUMENT", help="with test: what follows its name on its line"
    )
    parser.add_argument(
        "--hook",
        action="append",
        default=[],
        metavar="HOOK",
        help=f"with new: a hook that it has; may be repeated (default: {DEFAULT_HOOK})",
    )
    parser.add_argument("--directory", type=Path, metavar="DIR", help="with new: in place of here")
    add_config(parser)
    parser.epilog = _EPILOG


def _plugin(arguments: argparse.Namespace) -> int:
    if arguments.action == "new":
        if arguments.words:
            raise QpsmtpdError("a plugin has one name")
        return _new(arguments)
    if arguments.hook or arguments.directory:
        raise QpsmtpdError("--hook and --directory are for `plugin new`")
    return _test(Path(arguments.what), arguments.words)


# --- new ----------------------------------------------------------------------------------------


def _new(arguments: argparse.Namespace) -> int:
    directory = arguments.directory or Path()
    made = scaffold(arguments.what, arguments.hook)
    plugin, test = made.write(directory)
    print(f"written: {plugin} and {test}")
    print(f"test it:        qpsmtpd plugin test {plugin}")
    settings, _ = load_settings(ConfigFiles(directories_of(arguments.config)), "localhost")
    for line in _to_use_it(made.name, directory, settings.plugin_dirs):
        print(line)
    return 0


def _to_use_it(name: str, directory: Path, places: Sequence[Path]) -> Iterator[str]:
    if directory.resolve() not in [place.resolve() for place in places]:
        known = " or ".join(map(str, places))
        where = f"move it to {known}" if places else "name its directory in the file plugin_dirs"
        yield f"to use it:      {where}, and"
    yield f"                add the line {name} to the file plugins, above rcpt_ok"


# --- test ---------------------------------------------------------------------------------------


def _test(file: Path, words: Sequence[str]) -> int:
    if file.suffix != ".py" or not file.is_file():
        raise QpsmtpdError(f"{file} is not the file of a plugin (NAME.py)")
    with silence():
        problems = problems_of(file, words)
    for problem in problems:
        print(show(problem))
    if errors_in(problems):
        return 1
    print(f"{file}: loads")
    test = _test_of(file)
    if test is None:
        print(f"{file}: there is no {file.stem}_test.py or test_{file.stem}.py beside it")
        return 0
    return _run_pytest(test) if _has_pytest() else _run(test)


def _test_of(file: Path) -> Path | None:
    names = f"{file.stem}_test.py", f"test_{file.stem}.py"
    return next((path for path in map(file.with_name, names) if path.is_file()), None)


def _has_pytest() -> bool:
    return bool(find_spec("pytest") and find_spec("pytest_asyncio"))


def _run_pytest(test: Path) -> int:
    """Its own output has file and line; the author's settings beside the test count."""
    sys.stdout.flush()
    words = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    words += ["--asyncio-mode=auto", str(test)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(words, env=environment, check=False)  # noqa: S603 (the author's test)
    return 1 if done.returncode else 0


def _run(test: Path) -> int:
    results = list(run_tests(test))
    for result in results:
        print(result.fault or f"{test}: {result.name}: passed")
    failed = sum(bool(result.fault) for result in results)
    if not results:
        print(f"{test}: has no functions test_...")
        return 1
    print(f"{test}: {len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0
