# SPDX-License-Identifier: MIT
"""The program that asks PAM about one login, for a daemon that may not read what PAM reads.

    python3 -IS pam_helper.py USER SERVICE...

The service manager starts it as root for each connection, which is on descriptor 0 (SOCK_STREAM).
USER is the daemon's: only that user and root may ask.  The services are those of PAM, named like a
file in /etc/pam.d, that may be asked for.  So its caller, which may have been compromised, can try
passwords by those rules, one for each connection, and nothing more.

The question ends where the caller ends sending: service, name, password and the client's address,
each with a NUL at its end; or the service alone, to find out whether it may be asked.  The answer
is one line:

    ready               the service may be asked
    right
    wrong CODE          the number of what PAM says: of the password, or of the account
    failed CODE TEXT    PAM cannot tell now
    refused WHY

It uses nothing of ours and little of the standard library, because it starts for each login.  No
password is printed; what modules log is theirs (PAM asks them not to repeat passwords).
"""

from __future__ import annotations

import contextlib
import ctypes
import pwd
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any

#: Octets of the longest question.
MOST = 4096

#: Seconds for the question, and for all that PAM does; then the kernel ends this process.
READ_WAIT = 5.0
LONGEST = 100

LIBRARY = "libpam.so.0"

# Of <security/_pam_types.h>.
SUCCESS = 0
CONV_ERR = 19
#: What is said of the login.  PERM_DENIED, AUTH_ERR, CRED_INSUFFICIENT, USER_UNKNOWN, MAXTRIES,
#: NEW_AUTHTOK_REQD (the password has expired), ACCT_EXPIRED, AUTHTOK_EXPIRED.
WRONG = frozenset({6, 7, 8, 10, 11, 12, 13, 27})

_PROMPT_ECHO_OFF, _PROMPT_ECHO_ON = 1, 2
_TTY, _RHOST, _FAIL_DELAY = 3, 4, 10
_FLAGS = 0x8000 | 0x1  # PAM_SILENT, PAM_DISALLOW_NULL_AUTHTOK
_MOST_MESSAGES = 32  # PAM_MAX_NUM_MSG


class _Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class _Response(ctypes.Structure):
    # Memory of the C library, which the module that asked frees.
    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


_CONVERSE = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(_Message)),
    ctypes.POINTER(ctypes.POINTER(_Response)),
    ctypes.c_void_p,
)
_DELAY = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


class _Conversation(ctypes.Structure):
    _fields_ = (("converse", _CONVERSE), ("data", ctypes.c_void_p))


def serve(connection: socket.socket, user: str, services: Sequence[str]) -> None:
    """Answer the one question of the caller."""
    connection.settimeout(READ_WAIT)
    try:
        answer = _answer(connection, user, services)
    except (OSError, ValueError) as error:
        answer = f"refused {getattr(error, 'strerror', None) or error}"
    with contextlib.suppress(OSError):  # the caller has gone
        connection.sendall(f"{answer}\n".encode("ascii", "replace"))


def _answer(connection: socket.socket, user: str, services: Sequence[str]) -> str:
    """The line for the caller.  Raises ValueError when it may not ask that, and OSError."""
    if not may_ask(connection, user):
        raise ValueError(f"only {user} and root may ask")
    words = _words(connection)
    if words[0] not in services:
        raise ValueError("not among the services that may be asked for")
    if len(words) == 1:
        return "ready"
    if len(words) != 4 or not words[1] or not words[2]:
        raise ValueError("not a service, a name, a password and an address")
    return ask(*words)


def may_ask(connection: socket.socket, user: str) -> bool:
    """Whether the caller is this user, or root (SO_PEERCRED of unix(7))."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    uid: int = struct.unpack("3i", credentials)[1]
    return uid in (0, _uid(user))


def _uid(user: str) -> int | None:
    """The number of a user; None if there is no such user."""
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):
        return None


def _words(connection: socket.socket) -> list[str]:
    data = b""
    while len(data) <= MOST and (more := connection.recv(MOST)):
        data += more
    if len(data) > MOST or not data.endswith(b"\0"):
        raise ValueError("the question is too long, or has no end")
    return data[:-1].decode().split("\0")


def ask(service: str, user: str, password: str, address: str) -> str:
    """What PAM says about a login.

    Root cannot log in to send mail: nobody is to guess that password from afar.
    """
    if _uid(user) == 0:
        return "wrong 6"
    pam = ctypes.CDLL(LIBRARY)
    pam.pam_strerror.restype = ctypes.c_char_p
    handle = ctypes.c_void_p()
    conversation = _Conversation(_CONVERSE(_answering(user, password)), None)
    code = pam.pam_start(
        service.encode(), user.encode(), ctypes.byref(conversation), ctypes.byref(handle)
    )
    if code != SUCCESS:
        return f"failed {code} pam_start"
    # The daemon has a pause of its own, and the time of this process is limited.
    no_delay = _DELAY(lambda _status, _microseconds, _data: None)
    pam.pam_set_item(handle, _FAIL_DELAY, ctypes.cast(no_delay, ctypes.c_void_p))
    pam.pam_set_item(handle, _RHOST, ctypes.c_char_p(address.encode()))
    pam.pam_set_item(handle, _TTY, ctypes.c_char_p(service.encode()))
    code = pam.pam_authenticate(handle, _FLAGS)
    if code == SUCCESS:
        code = pam.pam_acct_mgmt(handle, _FLAGS)
    text = pam.pam_strerror(handle, code)
    pam.pam_end(handle, code)
    return verdict(code, text)


def verdict(code: int, text: bytes) -> str:
    """The line that tells what a number of PAM means."""
    if code == SUCCESS:
        return "right"
    if code in WRONG:
        return f"wrong {code}"
    return f"failed {code} {text.decode('ascii', 'replace')}"


def _answering(user: str, password: str) -> Any:
    """The function that modules ask: name and password are all that it knows."""
    library = ctypes.CDLL(None)
    library.calloc.restype = library.strdup.restype = ctypes.c_void_p
    library.calloc.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
    library.strdup.argtypes = (ctypes.c_char_p,)
    known = {_PROMPT_ECHO_OFF: password.encode(), _PROMPT_ECHO_ON: user.encode()}

    def converse(count: int, messages: Any, responses: Any, _data: Any) -> int:
        if not 0 < count <= _MOST_MESSAGES:
            return CONV_ERR
        place = library.calloc(count, ctypes.sizeof(_Response))
        if not place:
            return CONV_ERR
        given = ctypes.cast(place, ctypes.POINTER(_Response))
        for number in range(count):
            answer = known.get(messages[number].contents.style)
            if answer is not None:
                given[number].text = library.strdup(answer)
        responses[0] = given
        return SUCCESS

    return converse


if __name__ == "__main__":
    signal.alarm(LONGEST)
    serve(socket.socket(fileno=0), sys.argv[1], sys.argv[2:])
