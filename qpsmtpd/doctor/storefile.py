# SPDX-License-Identifier: MIT
"""Store file: whether the daemon's user can use the SQLite file that is the store of one machine.

Nothing is created or changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qpsmtpd.doctor.examination import Examination
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.surroundings import Surroundings
from qpsmtpd.doctor.units import SERVICE, Unit
from qpsmtpd.plugin.filechecks import check_directory
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.store.opening import default_location

AREA = "Store"


def check_store_file(installation: Installation, path: Path) -> Iterator[Finding]:
    """The findings about a file.  Raises OSError if the daemon's user cannot be asked."""
    if not installation.machine.exists(path):
        if installation.settings.store:  # otherwise systemd or the package makes the directory
            yield check_directory(Surroundings(installation), "store", path.parent)
        return
    timeout, there = float(installation.settings.store_timeout), installation.machine.path(path)
    words = installation.machine.as_user(
        installation.account, lambda: _in_process(str(path), there, timeout)
    )
    yield from Examination.of("store", words).findings


def default_file(installation: Installation) -> Path:
    """Where the daemon has it, by the unit (StateDirectory=) or in the spool."""
    state = Unit(installation.machine, SERVICE).value("StateDirectory")
    environment = {"STATE_DIRECTORY": f"/var/lib/{state}"} if state else {}
    return default_location(environment, installation.settings.spool_dir)


def _in_process(name: str, path: Path, timeout: float) -> list[Any]:
    return Examination("store", (), (_probe(name, path, timeout),)).words()


def _probe(name: str, path: Path, timeout: float) -> Finding:
    """Begin to write.  The daemon would repair what is damaged; here nothing is to change."""
    try:
        with closing(
            sqlite3.connect(f"file:{quote(str(path))}?mode=rw", timeout, uri=True)
        ) as file:
            file.execute("BEGIN IMMEDIATE")
            file.rollback()
    except sqlite3.OperationalError as error:
        advice = f"Without it, mail goes on, and the plugins forget. See whose {name} is."
        return Finding.error(name, f"cannot be used: {error}", advice, area=AREA)
    except sqlite3.DatabaseError as error:
        advice = "The daemon moves it away when it uses it, makes a new one, and mail goes on."
        return Finding.warning(name, f"is damaged: {error}", advice, area=AREA)
    return Finding.ok(name, "can be written to", area=AREA)
