# SPDX-License-Identifier: MIT
"""`qpsmtpd export-metrics`: the figures of the daemon for Prometheus and others."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from typing import Any

from qpsmtpd.commands.arguments import add_command
from qpsmtpd.commands.daemonfigures import add_figures, figures_of
from qpsmtpd.commands.listening import place_type, sockets_at
from qpsmtpd.daemon import notify
from qpsmtpd.daemon.sockets import passed_by_systemd
from qpsmtpd.metrics.exporter import serve
from qpsmtpd.metrics.openmetrics import OPENMETRICS, PROMETHEUS
from qpsmtpd.metrics.reading import read

_EPILOG = (
    "Without --listen, and without sockets from systemd, the figures are printed. The page "
    "qpsmtpd-metrics(7) explains them. They are served at /metrics by a process of its own, which "
    "only reads what the daemon has written into memory: many or slow readers do not slow the "
    "daemon down. The package has qpsmtpd-metrics.socket for that, which is disabled until you "
    "enable it."
)


def add_export_metrics(commands: Any) -> None:
    """Add the command `export-metrics`."""
    text = "Print the figures of the daemon in the format of OpenMetrics, or serve them by HTTP."
    parser = add_command(commands, "export-metrics", _export, text)
    parser.add_argument(
        "--listen",
        action="append",
        default=[],
        type=place_type,
        metavar="ADDR:PORT|PATH",
        help="serve them here, on a TCP port or a Unix socket; may be repeated",
    )
    parser.add_argument(
        "--prometheus",
        action="store_true",
        help="print the older format of Prometheus, which the node exporter reads from a file",
    )
    add_figures(parser)
    parser.epilog = _EPILOG


def _export(arguments: argparse.Namespace) -> int:
    path = figures_of(arguments)
    sockets = [each.socket for each in passed_by_systemd(os.environ)]
    sockets += sockets_at(arguments.listen)
    if not sockets:
        form = PROMETHEUS if arguments.prometheus else OPENMETRICS
        print(form.text(read(path)), end="")
        return 0
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    asyncio.run(serve(path, sockets, lambda: notify.ready("Serving metrics")))
    return 0
