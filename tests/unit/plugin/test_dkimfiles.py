# SPDX-License-Identifier: MIT
"""The directory with DKIM keys: which key signs for whom, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.errors import ConfigError
from qpsmtpd.plugin.dkimfiles import Keyring, read_keys
from tests.unit.plugin.dkimdirectories import add_key, key_text


def read(directory: Path) -> tuple[Keyring, list[str]]:
    """The keys, and what was odd."""
    odd: list[str] = []
    return read_keys(directory, lambda where, text: odd.append(f"{where}: {text}")), odd


def names(ring: Keyring, domain: str) -> list[str]:
    return [key.name for key in ring.keys_for(domain)]


def problems(directory: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(directory)
    return [str(part).removeprefix(f"{directory}/") for part in caught.value.parts]


def test_without_a_directory(tmp_path: Path) -> None:
    ring, odd = read(tmp_path / "dkim")
    assert (ring.keys_for("a.example"), odd) == ((), [])


def test_the_layout_of_the_perl_version(tmp_path: Path) -> None:
    home = tmp_path / "a.example"
    add_key(home, "private", key_text("rsa"))
    (home / "selector").write_text("Nov2026\n")
    for other in ("public", "dns", ".202612.private"):
        (home / other).write_text("x")
    ring, odd = read(tmp_path)
    [key] = ring.keys_for("a.example")
    assert (key.name, key.private.type) == ("nov2026._domainkey.a.example", "rsa")
    assert odd == []


def test_several_keys(tmp_path: Path) -> None:
    add_key(tmp_path / "a.example", "s1.private", key_text("rsa"))
    add_key(tmp_path / "a.example", "s2.private")
    add_key(tmp_path / "a.example", "private")
    (tmp_path / "a.example/selector").write_text("s0")
    ring, _ = read(tmp_path)
    assert {key.selector for key in ring.keys_for("a.example")} == {"s0", "s1", "s2"}


def test_domains_above_and_links(tmp_path: Path) -> None:
    add_key(tmp_path / "a.example", "s.private")
    add_key(tmp_path / "sub.a.example", "t.private")
    (tmp_path / "Link.example").symlink_to("a.example")
    (tmp_path / "xn--bcher-kva.example").symlink_to(tmp_path / "sub.a.example")
    (tmp_path / "README").write_text("not a domain")
    ring, odd = read(tmp_path)
    ours, below = ["s._domainkey.a.example"], ["t._domainkey.sub.a.example"]
    assert names(ring, "a.example") == names(ring, "other.a.example") == ours
    assert names(ring, "sub.a.example") == names(ring, "x.y.sub.a.example") == below
    assert names(ring, "link.example") == names(ring, "x.link.example") == ours
    assert names(ring, "xn--bcher-kva.example") == below
    for other in ("example", "b.example", "nota.example", "", "a.example" + ".x" * 200):
        assert names(ring, other) == []
    assert odd == []


def test_a_domain_without_a_key(tmp_path: Path) -> None:
    (tmp_path / "a.example").mkdir()
    ring, [odd] = read(tmp_path)
    assert names(ring, "a.example") == []
    assert odd.startswith(f"{tmp_path}/a.example: has no key")


def test_all_problems_are_reported(tmp_path: Path) -> None:
    directory = tmp_path / "dkim"
    add_key(directory / "a.example", "s1.private", b"no key")
    add_key(directory / "a.example", "s2.private").chmod(0o644)
    add_key(directory / "a.example", "s 3.private")
    add_key(directory / "a.example", "private")
    add_key(directory / "b.example", "s.private").chmod(0o640)
    add_key(directory / "no domain", "s.private")
    assert problems(directory) == [
        "a.example/selector: cannot be read: No such file or directory",
        "a.example/s 3.private: 's 3' is not a selector, such as 202611",
        "a.example/s1.private: is not a private key (PEM)",
        f"a.example/s2.private: everybody can get at this private key: "
        f"chmod o= {directory}/a.example/s2.private",
        "no domain: 'no domain' is not a domain",
    ]


def test_a_closed_directory_is_enough(tmp_path: Path) -> None:
    path = add_key(tmp_path / "dkim/a.example", "s.private")
    path.chmod(0o644)
    path.parent.chmod(0o750)
    ring, _ = read(tmp_path / "dkim")
    assert names(ring, "a.example") == ["s._domainkey.a.example"]


@pytest.mark.parametrize(
    ("bits", "most", "said"),
    [
        (1024, 4096, "keys should have 2048"),
        (2048, 4096, ""),
        (2048, 2047, "not everybody checks more"),
    ],
)
def test_sizes(
    tmp_path: Path, bits: int, most: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpsmtpd.plugin.dkimfiles.MOST_CHECKED_RSA_BITS", most)
    path = add_key(tmp_path / "a.example", "s.private", key_text("rsa", bits))
    ring, odd = read(tmp_path)
    assert [key.private.bits for key in ring.keys_for("a.example")] == [bits]
    assert [text.partition(f"{path}: has {bits} bits: ")[2][: len(said)] for text in odd] == (
        [said] if said else []
    )


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.example/s.private").mkdir(parents=True)
    assert problems(tmp_path) == ["a.example/s.private: cannot be read: Is a directory"]
    (tmp_path / "dkim").write_text("")
    with pytest.raises(ConfigError, match="dkim: cannot be read: Not a directory"):
        read(tmp_path / "dkim")
