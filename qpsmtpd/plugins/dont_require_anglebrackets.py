# SPDX-License-Identifier: MIT
"""dont_require_anglebrackets: take `MAIL FROM:user@example.com` for what it means.

RFC 5321 section 4.1.2 requires paths in angle brackets, and without this plugin a command that
lacks them is refused. With it the brackets are added, and leaving them out costs the client karma.
The address must be valid otherwise. Refuses nothing itself.
"""

from __future__ import annotations

from qpsmtpd.api import NoOptions, Plugin, Session


class DontRequireAnglebrackets(Plugin[NoOptions]):
    """Adds missing angle brackets."""

    async def hook_mail_pre(
        self, session: Session, path: str, parameters: dict[str, str | None]
    ) -> str | None:
        return _with_brackets(session, path)

    async def hook_rcpt_pre(
        self, session: Session, path: str, parameters: dict[str, str | None]
    ) -> str | None:
        return _with_brackets(session, path)


def _with_brackets(session: Session, path: str) -> str | None:
    if path.startswith("<") and path.endswith(">"):
        return None
    session.adjust_karma(-2)
    return f"<{path}>"
