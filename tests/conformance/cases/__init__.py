# SPDX-License-Identifier: MIT
"""All cases."""

from tests.conformance.cases import (
    commands,
    configuration,
    content,
    deferred,
    handover,
    paths,
    plugins,
    recipients,
    security,
    senders,
    sessions,
)

CASES = (
    *commands.CASES,
    *paths.CASES,
    *content.CASES,
    *senders.CASES,
    *recipients.CASES,
    *sessions.CASES,
    *security.CASES,
    *plugins.CASES,
    *deferred.CASES,
    *handover.CASES,
    *configuration.CASES,
)

__all__ = ["CASES"]
