# SPDX-License-Identifier: MIT
"""crypt(3): whether a password is the one of which a system keeps the hash, in any of its forms.

Python 3.13 has no module for it any more, so libcrypt is called, which every Debian system has.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import hmac
from typing import Any

from qpsmtpd.scanners.wire import ScannerError

#: Octets of its struct crypt_data, which it promises never to change.
_SCRATCH = 32768


def crypt_matches(password: bytes, crypted: bytes) -> bool:
    """Whether this is the password; it blocks, for as long as the form of the hash wants.

    Nothing is the password of a hash that is empty, locked or of no form that libcrypt knows.
    Raises ScannerError if it cannot be found out.
    """
    if not crypted or b"\0" in password + crypted:
        return False
    scratch = ctypes.create_string_buffer(_SCRATCH)
    made: bytes | None = _function()(password, crypted, scratch, _SCRATCH)
    if made is None:
        if ctypes.get_errno() == errno.ENOMEM:
            raise ScannerError("not enough memory to check a password")
        return False
    return hmac.compare_digest(made, crypted)


@functools.cache
def _function() -> Any:
    """crypt_rn, which unlike crypt_r never returns a hash that stands for an error."""
    try:
        function = ctypes.CDLL("libcrypt.so.1", use_errno=True).crypt_rn
    except OSError:
        raise ScannerError("needs libcrypt.so.1 (package libcrypt1)") from None
    function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int)
    function.restype = ctypes.c_char_p
    return function
