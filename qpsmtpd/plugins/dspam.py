# SPDX-License-Identifier: MIT
"""dspam: does nothing, so that configurations of the Perl version work as they are.

There it had messages classified by DSPAM, which nobody maintains any more, and which Debian removed
in 2019. The plugins rspamd and spamassassin have learning filters as well; what DSPAM has learned
cannot be taken over. Remove the line. Its options are accepted and have no effect, `reject`
included.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpsmtpd.api import Plugin, opt


@dataclass(frozen=True, kw_only=True)
class DspamOptions:
    """Options of dspam."""

    ignored: str = opt("", rest=True, doc="Whatever the line says.")


class Dspam(Plugin[DspamOptions]):
    """Nothing."""

    warning = "does nothing: DSPAM is no longer maintained; use rspamd or spamassassin instead"
