# SPDX-License-Identifier: MIT
"""The file trees with the programs of the benchmark: Debian systems, Haraka, earlier commits."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.conformance.perl_server import PACKAGES, PRESEED
from tests.debian_system import CHECKOUT, cache_directory, layer_tar, unpacked
from tests.isolation import locked, run, temporary_tree

#: Where files live, in memory, so that no disk is measured.
MEMORY = Path("/dev/shm/qpsmtpd-bench")

#: The last Debian whose Perl qpsmtpd starts.
RELEASE = "bookworm"
POSTFIX_ANSWERS = """\
postfix postfix/main_mailer_type select Local only
postfix postfix/mailname string example.test
"""
HARAKA = "Haraka@3.3.4"
MAILAUTH = "mailauth@7.1.0"
INSTALL_TIMEOUT = 300.0  # seconds


@contextmanager
def postfix() -> Iterator[Path]:
    """A Debian with Postfix, its smtp-source and its smtp-sink."""
    with unpacked(layer_tar(RELEASE, ("postfix",), POSTFIX_ANSWERS)) as system:
        yield system.root


@contextmanager
def milters() -> Iterator[Path]:
    """A Debian with Postfix, and milters that check SPF, DKIM and DMARC."""
    packages = ("postfix", "opendkim", "opendmarc", "pyspf-milter", "rspamd")
    with unpacked(layer_tar(RELEASE, packages, POSTFIX_ANSWERS)) as system:
        yield system.root


@contextmanager
def perl() -> Iterator[Path]:
    """A Debian with the Perl version."""
    with unpacked(layer_tar(RELEASE, PACKAGES, PRESEED)) as system:
        yield system.root


@contextmanager
def haraka() -> Iterator[Path]:
    """Haraka's directory, from the cache or installed by npm."""
    with npm_tree(HARAKA) as home:
        yield home / "node_modules/Haraka"


@contextmanager
def npm_tree(package: str) -> Iterator[Path]:
    """A directory with node_modules, in which a package is; from the cache or installed by npm."""
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        raise RuntimeError(f"{package} needs node 20 and npm, which are not installed")
    home = cache_directory() / package
    with locked(home.with_name(f"{package}.lock")):
        if not home.exists():
            unfinished = home.with_name(f"{package}.new")
            shutil.rmtree(unfinished, ignore_errors=True)
            _npm_install(npm, package, unfinished)
            unfinished.rename(home)
    yield home


def _npm_install(npm: str, package: str, home: Path) -> None:
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev")
    try:
        subprocess.run(
            (npm, "install", *options, "--prefix", home, package),
            check=True,
            capture_output=True,
            timeout=INSTALL_TIMEOUT,
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise RuntimeError(f"{package} cannot be installed: {error}") from None


@contextmanager
def commit(name: str) -> Iterator[Path]:
    """What is ours in another commit of this repository."""
    with temporary_tree(MEMORY, "commit-") as root:
        archive = root / "archive.tar"
        command = ("git", "-C", str(CHECKOUT), "archive", f"--output={archive}")
        run((*command, name, "qpsmtpd", "etc", "templates"), timeout=30)
        run(("tar", "-xf", str(archive), "-C", str(root)), timeout=30)
        archive.unlink()
        yield root


def short_name(commit: str) -> str:
    """How git calls a commit.  Raises RuntimeError when there is no such commit."""
    words = ("rev-parse", "--verify", "--quiet", "--short", f"{commit}^{{commit}}")
    try:
        return run(("git", "-C", str(CHECKOUT), *words), timeout=10).strip()
    except RuntimeError:
        raise RuntimeError(f"there is no commit {commit!r}") from None


Tree = Callable[[], AbstractContextManager[Path]]

#: By name; each is ready while it is open.  Raises RuntimeError when it cannot be had.
TREES: dict[str, Tree] = {
    "postfix": postfix,
    "milters": milters,
    "perl": perl,
    "haraka": haraka,
}
