# SPDX-License-Identifier: MIT
"""No plugin compares domains or names of HELO by hand: the lists of the API know every spelling.

`address.domain` is canonical, so it may be compared with another canonical one (an option of type
Domain); a name of HELO, or a domain as the client wrote it, may only be looked up.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "qpsmtpd/plugins"

#: Attributes that the client chose the spelling of, and the argument of hook_helo and hook_ehlo.
WRITTEN = {"hello_host", "written_domain", "auth_user"}
ARGUMENT = "host"
CANONICAL = {"domain"}

#: Ways to take a name apart or to fold it.
BY_HAND = {
    *("lower", "upper", "casefold", "title", "swapcase", "translate", "replace"),
    *("strip", "lstrip", "rstrip", "removeprefix", "removesuffix", "startswith", "endswith"),
    *("split", "rsplit", "partition", "rpartition", "find", "rfind", "index", "encode"),
}
#: What may be asked whether it has a name.
LISTS = {"AddressList", "AddressSet", "DomainList", "HelloList", "our_domains"}
#: Types of options that hold a domain.
TYPES = {"Domain", "Domain | None"}
#: Modules that only mail/domain.py needs.
MODULES = {"unicodedata", "idna", "encodings", "stringprep", "dns"}


def complaints(source: str) -> list[str]:
    """What a plugin does by hand."""
    tree = ast.parse(source)
    found = [*_imports(tree), *_calls(tree), *_comparisons(tree), *_options(tree)]
    return list(map(ast.unparse, found))


def _imports(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        if MODULES & {name.split(".")[0] for name in names}:
            yield node


def _calls(tree: ast.Module) -> Iterator[ast.AST]:
    """Methods of strings, called on a name."""
    for node in ast.walk(tree):
        function = node.func if isinstance(node, ast.Call) else None
        if not isinstance(function, ast.Attribute) or function.attr not in BY_HAND:
            continue
        if _is_name(function.value, WRITTEN | CANONICAL):
            yield node


def _comparisons(tree: ast.Module) -> Iterator[ast.AST]:
    lists, options = _lists(tree), _domain_options(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        operands = [node.left, *node.comparators]
        for operator, one, other in zip(node.ops, operands, operands[1:], strict=False):
            if isinstance(operator, ast.In | ast.NotIn):
                wrong = _is_name(one, WRITTEN | CANONICAL) and _last(other) not in lists
            elif isinstance(operator, ast.Eq | ast.NotEq):
                wrong = _is_wrong(one, other, options) or _is_wrong(other, one, options)
            else:
                wrong = False
            if wrong:
                yield node


def _is_wrong(name: ast.expr, other: ast.expr, options: set[str]) -> bool:
    """Whether a name is compared with what may be spelled in another way."""
    if _is_name(name, WRITTEN):
        return True
    return _is_name(name, CANONICAL - options) and _last(other) not in {"domain", *options}


def _options(tree: ast.Module) -> Iterator[ast.AST]:
    """Options that hold a domain and are not of that type."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.value, ast.Call):
            continue
        if _last(node.target) in CANONICAL and ast.unparse(node.annotation) not in TYPES:
            yield node


def _lists(tree: ast.Module) -> set[str]:
    """The attributes that are made of one of LISTS."""
    return {
        _last(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for value in [node.value.value if isinstance(node.value, ast.Await) else node.value]
        if isinstance(value, ast.Call) and LISTS & set(_made(value))
        for target in node.targets
    }


def _made(call: ast.Call) -> Iterator[str]:
    """What a call makes, also by `made_of`, which is told what to make."""
    yield _last(call.func)
    if _last(call.func) in ("made_of", "partial"):
        for argument in call.args:
            if isinstance(argument, ast.Call):
                yield from _made(argument)
            elif isinstance(argument, ast.Name | ast.Attribute):
                yield _last(argument)


def _domain_options(tree: ast.Module) -> set[str]:
    return {
        _last(node.target)
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) in TYPES
    }


def _is_name(node: ast.expr, names: set[str]) -> bool:
    """Also `address.domain or ""`."""
    if isinstance(node, ast.BoolOp):
        return any(_is_name(value, names) for value in node.values)
    if isinstance(node, ast.Name) and node.id == ARGUMENT:
        return names >= WRITTEN
    return _last(node) in names


def _last(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", sorted(PLUGINS.rglob("*.py")), ids=lambda path: str(path.stem))
def test_plugins_compare_no_domains_by_hand(path: Path) -> None:
    assert complaints(path.read_text()) == []


@pytest.mark.parametrize(
    "code",
    [
        "address.domain.lower()",
        "(sender.domain or '').endswith('.example.com')",
        "host.lower() in self._names",
        "session.hello_host == 'localhost'",
        "'localhost' == host",
        "host in {'localhost'}",
        "host not in self._names",
        "address.domain in ('example.com', 'example.org')",
        "address.domain == 'example.com'",
        "address.domain != self.options.name",
        "address.written_domain == other.written_domain",
        "session.auth_user.lower()",
        "address.domain.encode('idna')",
        "import unicodedata",
        "from dns.name import IDNA_2008",
        "domain: str = opt(positional=True)",
    ],
)
def test_by_hand(code: str) -> None:
    assert len(complaints(f"self._names = set()\n{code}")) == 1


@pytest.mark.parametrize(
    "code",
    [
        "address.domain is None",
        "address.domain == other.domain",
        "domain: Domain = opt()\naddress.domain != self.options.domain",
        "ours: Domain = opt()\nself.options.ours == address.domain",
        "self._names = HelloList(entries)\nhost in self._names",
        "self._ours = await our_domains(services)\naddress.domain in self._ours",
        "self._local = DomainList(entries)\n(address.domain or me) not in self._local",
        "address.local_part.lower() in NAMES",
        "canonical_domain(host) == 'localhost'",
        "printable_ascii(session.hello_host)",
    ],
)
def test_with_the_api(code: str) -> None:
    assert complaints(code) == []
