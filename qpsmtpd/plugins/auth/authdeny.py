# SPDX-License-Identifier: MIT
"""auth/authdeny: log the logins that no other plugin decided about.

Put it after all other auth plugins. The daemon refuses such a login anyway, with 535 5.7.8, whether
this plugin is in use or not: it only writes a line with the user's name to the log, which shows
whether somebody is guessing passwords.
"""

from __future__ import annotations

from collections.abc import Sequence

from qpsmtpd.api import AuthAttempt, NoOptions, Plugin, Session


class Authdeny(Plugin[NoOptions]):
    """Logs who could not log in."""

    after = ("auth/*",)

    def unusable_mechanisms(self) -> Sequence[str]:
        return ("CRAM-MD5",)  # offered where another plugin can judge it

    async def hook_auth(self, session: Session, attempt: AuthAttempt) -> None:
        self.log.info(
            "nobody knows user=%r mechanism=%s ip=%s",
            attempt.user,
            attempt.mechanism,
            session.client.ip,
        )
