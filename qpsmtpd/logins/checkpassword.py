# SPDX-License-Identifier: MIT
"""checkpassword: D. J. Bernstein's interface of programs that check passwords.

Such a program reads a name, a password and a timestamp from descriptor 3, each with a NUL at its
end and 512 octets at most in all, and then runs the program that its arguments name, which does
nothing here (/bin/true).  See https://cr.yp.to/checkpwd/interface.html.
"""

from __future__ import annotations

from collections.abc import Sequence

from qpsmtpd.logins.attempts import Login
from qpsmtpd.nexthop.program import ProgramError, Programs, once
from qpsmtpd.scanners.wire import ScannerError

#: Octets that a program has to read.
MOST = 512

#: Exit statuses that mean a wrong password: that of the interface, and that of vpopmail's vchkpw.
WRONG = (1, 3)


async def log_in(
    programs: Programs, words: Sequence[str], wrong: Sequence[int], login: Login, timeout: float
) -> bool:
    """Whether a program says that a login is right; `wrong`: the statuses that mean it is not.

    Raises ScannerError.  What the program prints is not looked at.
    """
    data = f"{login.user}\0{login.password}\0Y123456\0".encode()
    if len(data) > MOST:
        return False
    try:
        finished = await programs.feed(words, {3: once(data)}, timeout=timeout)
    except ProgramError as error:
        raise ScannerError(str(error)) from error
    if finished.status != 0 and finished.status not in wrong:
        raise ScannerError(f"{words[0]}: exit status {finished.status}")
    return finished.status == 0
