# SPDX-License-Identifier: MIT
"""A package of somebody else with a plugin, built with python3-qpsmtpd as its authors would."""

from __future__ import annotations

import functools
import shutil

from tests.debian_system import CHECKOUT, System, layer_tar, unpacked
from tests.packaging.guest.apt import SAMPLE
from tests.packaging.package import TOOLS, built

SOURCE = CHECKOUT / "tests/packaging/sample_plugin"


@functools.cache
def built_sample() -> bytes:
    """Build it; its own test runs then.  Raises RuntimeError with all that was printed."""
    with unpacked(layer_tar("bookworm", TOOLS["bookworm"])) as system:
        _, module = built().put_into(system)
        system.run("dpkg", "--install", module)
        shutil.copytree(SOURCE, system.root / "srv/sample/source")
        build = "cd /srv/sample/source && dpkg-buildpackage --build=binary --unsigned-changes"
        said = system.run("sh", "-c", build)
        assert "2 passed" in said
        (path,) = (system.root / "srv/sample").glob("*.deb")
        return path.read_bytes()


def put_sample_into(system: System) -> None:
    """Copy it to SAMPLE in a Debian system."""
    (system.root / SAMPLE.lstrip("/")).write_bytes(built_sample())
