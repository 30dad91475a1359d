# SPDX-License-Identifier: MIT
"""auth/authdeny: log the log-ins that no other plugin knows anything of.

Place it after all other auth plugins. What gets here is refused by the daemon anyway, with 535
5.7.8, whether this plugin is there or not: it has no opinion, but writes a line with the user's
name to the log, which is of use to find out who tries passwords.
"""

from __future__ import annotations

from qpsmtpd.api import AuthAttempt, NoOptions, Plugin, Session


class Authdeny(Plugin[NoOptions]):
    """Writes down who could not log in."""

    after = ("auth/*",)

    async def hook_auth(self, session: Session, attempt: AuthAttempt) -> None:
        self.log.info(
            "nobody knows user=%r mechanism=%s ip=%s",
            attempt.user,
            attempt.mechanism,
            session.client.ip,
        )
