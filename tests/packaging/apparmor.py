# SPDX-License-Identifier: MIT
"""The rules of an AppArmor profile, and what a trace of strace(1) shows that they have to allow.

For kernels that have no AppArmor, as those of virtual machines and containers: whether a profile is
complete is found out by comparing it with what programs do.  The profile comes from
`apparmor_parser --preprocess`, so its includes are in it.  apparmor.d(5) has the syntax.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

#: How strace is to be run for `Access`es to be found.
STRACE = (
    *("strace", "-f", "-y", "-qq", "--signal=none"),
    "--trace=%file,%network,mmap,flock,fcntl,fchmod,fchown,ftruncate",
)

_VARIABLE = re.compile(r"^(@\{\w+\})\s*(\+?=)\s*(.*)$", re.MULTILINE)
_FILE_RULE = re.compile(
    r"^(?P<deny>deny\s+)?(?:owner\s+)?\"?(?P<path>[/@]\S*?)\"?\s+(?P<allowed>[rwamklixPUCpuc]+)$"
)
_NETWORK_RULE = re.compile(r"^network\s+(?P<words>[\w ]+)$")
_GLOB = re.compile(r"\*\*|\*|\?|\{|\}|,|\[[^]]*\]|.", re.DOTALL)


@dataclass(frozen=True, order=True)
class Access:
    """A path, with the final slash that a directory has, and one of r, w, m, k, l, x.

    Of a socket: `path` is the family, and `kind` the type, as in the rules for networks.
    """

    path: str
    kind: str


class Profile:
    """The rules of a profile."""

    def __init__(self, preprocessed: str) -> None:
        text = re.sub(r"#.*$", "", preprocessed, flags=re.MULTILINE)
        variables = _variables(text)
        rules = [" ".join(rule.split()) for rule in re.split(r",\s*$", text, flags=re.MULTILINE)]
        self.allows_networks: set[tuple[str, str]] = set()
        self._files: list[tuple[re.Pattern[str], str]] = []
        for rule in rules:
            # What stands before the first rule of a block belongs to the block.
            rule = re.sub(r"^.*\{ (?=[a-z/@\"])", "", rule)
            if network := _NETWORK_RULE.match(rule):
                family, _, kind = network["words"].partition(" ")
                self.allows_networks.add((family, kind))
            elif (file := _FILE_RULE.match(rule)) and not file["deny"]:
                patterns = "|".join(map(_pattern, _expanded(file["path"], variables)))
                self._files.append((re.compile(patterns), file["allowed"]))

    @functools.cache  # noqa: B019 - a profile lives as long as the test
    def allowed(self, path: str) -> frozenset[str]:
        """What may be done with a file."""
        return frozenset("".join(may for pattern, may in self._files if pattern.fullmatch(path)))

    def allows(self, access: Access) -> bool:
        """Whether the profile lets this happen."""
        if not access.path.startswith("/"):
            return bool({(access.path, access.kind), (access.path, "")} & self.allows_networks)
        return access.kind in self.allowed(access.path)


def _variables(text: str) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for name, how, values in _VARIABLE.findall(text):
        known = found.setdefault(name, [])
        if how == "=":
            known.clear()
        known += [value.strip('"') for value in values.split()]
    return found


def _expanded(path: str, variables: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The path with each value of each of its variables, whose values may have some themselves."""
    names = re.findall(r"@\{\w+\}", path)
    if not names:
        yield re.sub(r"//+", "/", path)
        return
    # Those of the kernel, such as the process's own id, have no value in the text.
    values = [variables.get(name, ["[0-9]*"]) for name in names]
    for chosen in product(*values):
        text = path
        for name, value in zip(names, chosen, strict=True):
            text = text.replace(name, value, 1)
        yield from _expanded(text, variables)


def _pattern(glob: str) -> str:
    """A regular expression for a path with AppArmor's wildcards."""
    depth = 0
    parts: list[str] = []
    for token in _GLOB.findall(glob):
        depth += {"{": 1, "}": -1}.get(token, 0)
        if token == "," and depth:
            parts.append("|")
        elif len(token) > 1 and token[0] == "[":
            parts.append(token)
        else:
            # A star at the end of a directory does not match nothing: that is the directory itself.
            plain = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")"}
            parts.append(plain.get(token) or re.escape(token))
    return re.sub(r"/(\.\*|\[\^/\]\*)(?=$|\)|\|)", r"/(?=[^/])\1", "".join(parts))


# --- traces -------------------------------------------------------------------------------------

_CALL = re.compile(r"^(?:\d+ +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>.*)$")
_PATH = re.compile(r'(?:(?P<at>AT_FDCWD|\d+)(?:<(?P<base>[^>]*)>)?, )?"(?P<path>[^"]*)"')
_SHOWN = re.compile(r"^\d+<(?P<path>/[^>]*?)(?: \(deleted\))?>")
_UNIX = re.compile(r'sa_family=AF_UNIX, sun_path="(?P<path>/[^"]*)"')
_SOCKET = re.compile(r"^AF_(?P<family>\w+), SOCK_(?P<kind>[A-Z]+)")
#: Calls that change what they name.
_WRITING = {
    *("unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir"),
    *("chmod", "fchmodat", "chown", "lchown", "fchownat", "symlink", "symlinkat", "truncate"),
    *("utime", "utimes", "utimensat", "mknod", "mknodat", "link", "linkat"),
}


def accesses(trace: Iterable[str]) -> Iterator[Access]:
    """What a trace shows that AppArmor looks at; what has failed is not among it."""
    for line in _whole(trace):
        call = _CALL.match(line)
        if call and (not call["result"].startswith("-1") or call["name"] == "connect"):
            yield from _of_call(call["name"], call["arguments"], call["result"])


def _whole(trace: Iterable[str]) -> Iterator[str]:
    """The calls of threads that were interrupted by others, in one line each."""
    begun: dict[str, str] = {}
    for line in trace:
        thread = line.split(" ", 1)[0]
        if line.rstrip().endswith("<unfinished ...>"):
            begun[thread] = line.rstrip().removesuffix("<unfinished ...>")
        elif resumed := re.match(r"^\d+ +<\.\.\. \w+ resumed>(.*)$", line.rstrip()):
            yield begun.pop(thread, "") + resumed[1]
        else:
            yield line.rstrip()


def _of_call(name: str, arguments: str, result: str) -> Iterator[Access]:
    if name in ("open", "openat", "creat"):
        yield from _of_open(arguments, result)
    elif name == "execve":
        path = _PATH.search(arguments)
        if path:
            yield Access(path["path"], "x")
    elif name == "mmap" and "PROT_EXEC" in arguments:
        mapped = re.search(r"\d+<(/[^>]*)>", arguments)
        if mapped:
            yield Access(mapped[1], "m")
    elif name in ("flock", "fcntl") and (name == "flock" or "F_SETLK" in arguments):
        locked = _SHOWN.match(arguments)
        if locked:
            yield Access(locked["path"], "k")
    elif name in ("fchmod", "fchown", "ftruncate"):
        changed = _SHOWN.match(arguments)
        if changed:
            yield Access(changed["path"], "w")
    elif name in ("connect", "bind", "sendto", "sendmsg"):
        peer = _UNIX.search(arguments)
        if peer and "ENOENT" not in result:
            yield Access(peer["path"], "w")
    elif name == "socket":
        made = _SOCKET.match(arguments)
        if made and made["family"] != "UNIX":
            yield Access(made["family"].lower(), made["kind"].lower())
    elif name in _WRITING:
        for path in _PATH.finditer(arguments):
            base = "" if path["path"].startswith("/") else f"{path['base'] or ''}/"
            slash = "/" if name in ("mkdir", "mkdirat", "rmdir") else ""
            yield Access(f"{base}{path['path']}{slash}", "l" if name.startswith("link") else "w")


def _of_open(arguments: str, result: str) -> Iterator[Access]:
    opened = _SHOWN.match(result)
    if opened is None:
        return  # a socket or a pipe
    path = opened["path"] + (
        "/" if "O_DIRECTORY" in arguments and "O_TMPFILE" not in arguments else ""
    )
    if "O_PATH" in arguments:
        return
    if not re.search(r"O_WRONLY", arguments):
        yield Access(path, "r")
    if re.search(r"O_(?:WRONLY|RDWR|CREAT|TRUNC)", arguments):
        yield Access(path, "w")
