# SPDX-License-Identifier: MIT
"""Signs messages with libopendkim; runs in a Debian system that has it, without our modules.

Reads a JSON list of [key (PEM), canonical forms, signs a length, message], and writes a list with
the values of the fields.  Constants are those of opendkim's dkim.h.
"""

import ctypes
import json
import sys

_FORMS = {"simple": 0, "relaxed": 1}
_RSA_SHA256 = 1
#: Where the value of the field begins in its line.
_COLUMN = len("DKIM-Signature: ")

_library = ctypes.CDLL("libopendkim.so.11")
for _name in ("dkim_init", "dkim_sign"):
    getattr(_library, _name).restype = ctypes.c_void_p


def signed(key: str, forms: str, length: int, message: str) -> str:
    """The value of a DKIM-Signature field."""
    header, body = map(_FORMS.__getitem__, forms.split("/"))
    status = ctypes.c_int()
    lib = ctypes.c_void_p(_library.dkim_init(None, None))
    handle = ctypes.c_void_p(
        _library.dkim_sign(
            lib,
            b"id",
            None,
            key.encode(),
            b"s",
            b"a.example",
            header,
            body,
            _RSA_SHA256,
            ctypes.c_ssize_t(length),
            ctypes.byref(status),
        )
    )
    text = message.encode()
    _expect(status.value, "dkim_sign")
    _expect(_library.dkim_chunk(handle, text, ctypes.c_size_t(len(text))), "dkim_chunk")
    _expect(_library.dkim_chunk(handle, None, ctypes.c_size_t(0)), "the last dkim_chunk")
    _expect(_library.dkim_eom(handle, None), "dkim_eom")
    value, size = ctypes.c_void_p(), ctypes.c_size_t()
    _expect(
        _library.dkim_getsighdr_d(
            handle, ctypes.c_size_t(_COLUMN), ctypes.byref(value), ctypes.byref(size)
        ),
        "dkim_getsighdr_d",
    )
    return ctypes.string_at(value.value or 0, size.value).decode()


def _expect(status: int, what: str) -> None:
    if status:
        sys.exit(f"{what}: {status}")


if __name__ == "__main__":
    json.dump([signed(*case) for case in json.load(sys.stdin)], sys.stdout)
