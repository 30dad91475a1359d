# SPDX-License-Identifier: MIT
"""Configuration files: search order, syntax, $include, databases."""

from __future__ import annotations

import gc
import struct
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.errors import ConfigError
from tests.unit.lists.test_cdb import written


def write(directory: Path, **files: str) -> ConfigFiles:
    """Write files and look into the directory; `_` in a name stands for itself."""
    for name, text in files.items():
        (directory / name).write_text(text)
    return ConfigFiles([directory])


def test_blanks_and_comments(tmp_path: Path) -> None:
    files = write(tmp_path, me="# no\n\n  \t\n \t# neither\n  mx.example \t\r\nb # c")
    assert [(e.text, e.where) for e in files.entries("me")] == [
        ("mx.example", f"{tmp_path}/me:5"),
        ("b # c", f"{tmp_path}/me:6"),
    ]
    assert files.lines("me") == ["mx.example", "b # c"]
    assert files.value("me") == "mx.example"


def test_no_file(tmp_path: Path) -> None:
    files = ConfigFiles([tmp_path, tmp_path / "none"])
    assert files.find("me") is None
    assert list(files.entries("me")) == []
    assert files.value("me", "default") == "default"
    assert files.mapping("me") == {}


def test_each_file_is_looked_up_by_itself(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    (first / "me").write_text("first")
    (second / "me").write_text("second")
    (second / "timeout").write_text("5")
    (first / "empty").write_text("")
    (second / "empty").write_text("not seen")
    files = ConfigFiles([first, second])
    assert files.lines("me") == ["first"]
    assert files.lines("timeout") == ["5"]
    assert files.lines("empty") == []
    assert files.files == [first / "me", second / "timeout", first / "empty"]


def test_a_file_is_read_once(tmp_path: Path) -> None:
    files = write(tmp_path, me="before")
    assert files.value("me") == "before"
    write(tmp_path, me="after")
    assert files.value("me") == "before"
    assert ConfigFiles([tmp_path]).value("me") == "after"


# --- $include -------------------------------------------------------------------------------


def test_include_absolute_and_nested(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.write_text("b\n")
    outer.write_text(f"a\n  $include\t{inner}  \nc\n")
    files = write(tmp_path, me=f"0\n$include {outer}\n1")
    assert files.lines("me") == ["0", "a", "b", "c", "1"]
    assert [entry.where for entry in files.entries("me")] == [
        f"{tmp_path}/me:1",
        f"{outer}:1",
        f"{inner}:1",
        f"{outer}:3",
        f"{tmp_path}/me:3",
    ]


def test_include_relative_is_looked_up_in_the_directories(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    (second / "sub").mkdir(parents=True)
    first.mkdir()
    (second / "me").write_text("$include sub/more")
    (second / "sub" / "more").write_text("$include other")
    (second / "sub" / "other").write_text("beside the including file: not this one")
    (second / "other").write_text("second")
    (first / "other").write_text("first")
    assert ConfigFiles([first, second]).lines("me") == ["first"]


def test_include_directory(tmp_path: Path) -> None:
    directory = tmp_path / "me.d"
    (directory / "sub").mkdir(parents=True)
    for name in ("20", "10", "9", ".hidden"):
        (directory / name).write_text(name)
    (directory / "sub" / "x").write_text("not regular")
    assert write(tmp_path, me="$include me.d").lines("me") == ["10", "20", "9"]


def test_include_missing_is_a_warning(tmp_path: Path) -> None:
    files = write(tmp_path, me="$include /no/such\nmx")
    assert files.lines("me") == ["mx"]
    assert [(p.where, p.severity) for p in files.warnings] == [(f"{tmp_path}/me:1", "warning")]
    assert "'/no/such'" in files.warnings[0].text


def test_include_without_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"me:1: .*needs the path"):
        write(tmp_path, me="$include").entries("me")


def test_include_twice_is_no_circle(tmp_path: Path) -> None:
    files = write(tmp_path, me="$include more\n$include more", more="x")
    assert files.lines("me") == ["x", "x"]
    assert files.files == [tmp_path / "me", tmp_path / "more"]


@pytest.mark.parametrize(
    ("files", "where", "first"),
    [
        ({"me": "a\n$include me"}, "me:2", "me:2"),
        ({"me": "$include b", "b": "\n$include me"}, "b:2", "me:1"),
        ({"me": "$include b", "b": "\n$include c", "c": "$include b"}, "c:1", "b:2"),
    ],
)
def test_circle_names_both_places(
    tmp_path: Path, files: dict[str, str], where: str, first: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        write(tmp_path, **files).entries("me")
    assert caught.value.where == f"{tmp_path}/{where}"
    assert f"{tmp_path}/{first}" in caught.value.problem


def test_circle_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "me")
    with pytest.raises(ConfigError, match="circular"):
        write(tmp_path, me="$include link").entries("me")


# --- what cannot be read --------------------------------------------------------------------


def test_another_encoding_is_latin_1(tmp_path: Path) -> None:
    (tmp_path / "me").write_bytes(b"good\n# caf\xe9\nb\xfccher\n")
    files = ConfigFiles([tmp_path])
    assert files.lines("me") == ["good", "bücher"]
    (warning,) = files.warnings
    assert (warning.where, warning.severity) == (f"{tmp_path}/me:3", "warning")
    assert "0xFC" in warning.text


@pytest.mark.parametrize("content", [b"a\0b\n", b"\xff\xfe\0\x80\n", "me\n".encode("utf-16-le")])
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "me").write_bytes(content)
    with pytest.raises(ConfigError, match=r"/me:\d: is not text .* save the file in UTF-8"):
        ConfigFiles([tmp_path]).entries("me")


def test_comments_may_be_in_any_encoding(tmp_path: Path) -> None:
    (tmp_path / "me").write_bytes(b"\xef\xbb\xbf# caf\xe9\nb\xc3\xbccher\n")
    assert ConfigFiles([tmp_path]).lines("me") == ["bücher"]


def test_directory_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "me").mkdir()
    with pytest.raises(ConfigError, match=r"/me: cannot be read"):
        ConfigFiles([tmp_path]).entries("me")


def test_a_link_to_itself_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "me").symlink_to("me")
    assert ConfigFiles([tmp_path]).lines("me") == []


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so permissions alone would not do."""

    def refuse(_path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    files = write(tmp_path, me="x")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match="/me: cannot be read: Permission denied"):
        files.entries("me")


# --- databases ------------------------------------------------------------------------------


def test_path_of_a_file_that_an_option_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, here = (tmp_path / name for name in ("first", "second", "here"))
    for directory in (first, second, here):
        directory.mkdir()
    monkeypatch.chdir(here)
    files = ConfigFiles([first, second])
    assert files.path("map") == first / "map"
    (here / "map").touch()
    assert files.path("map") == Path("map")
    (second / "map").touch()
    assert files.path("map") == second / "map"
    (first / "map").touch()
    assert files.path(Path("map")) == first / "map"
    assert files.path("/nowhere/map") == Path("/nowhere/map")
    assert files.files == []
    assert ConfigFiles([]).path("nowhere") == Path("nowhere")


def test_path_that_we_may_not_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it will say so."""

    def exists(path: Path) -> bool:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "exists", exists)
    assert ConfigFiles([tmp_path]).path("map") == tmp_path / "map"


def test_path_in_a_working_directory_that_we_may_not_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that root begins in his home, and that go on as the daemon's user."""

    def exists(path: Path) -> bool:
        if path.is_absolute():
            return False
        raise PermissionError(path)

    monkeypatch.setattr(Path, "exists", exists)
    assert ConfigFiles([tmp_path]).path("map") == tmp_path / "map"


def test_mapping(tmp_path: Path) -> None:
    (tmp_path / "morercpthosts.cdb").write_bytes(written([(b"example.test", b"")]))
    (tmp_path / "morercpthosts").write_text("not this one")
    files = ConfigFiles([tmp_path])
    assert dict(files.mapping("morercpthosts")) == {b"example.test": b""}
    assert files.mapping("morercpthosts") is files.mapping("morercpthosts")


def test_damaged_mapping(tmp_path: Path) -> None:
    (tmp_path / "x.cdb").write_bytes(struct.pack("<512I", *[9999] * 512))
    with pytest.raises(ConfigError, match=r"x\.cdb: is not a constant database"):
        ConfigFiles([tmp_path]).mapping("x")


# --- anything -------------------------------------------------------------------------------


@given(content=st.binary(max_size=200))
@example(content=b"\x1c")
def test_any_content(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Lines are trimmed and never empty; or the place that is wrong is named."""
    directory = tmp_path_factory.mktemp("any")
    (directory / "me").write_bytes(content)
    try:
        entries = ConfigFiles([directory]).entries("me")
    except ConfigError as error:
        assert error.where.startswith(f"{directory}/me:")
        return
    for entry in entries:
        number = int(entry.where.rpartition(":")[2])
        line = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")[number - 1]
        assert entry.text in (
            line.strip().decode("utf-8", "ignore"),
            line.strip().decode("latin-1"),
        )
        assert entry.text
        assert not entry.text.startswith("#")


def test_lines_are_a_sequence_of_entries(tmp_path: Path) -> None:
    entries = write(tmp_path, list="a\n\nb\nc\n").entries("list")
    places = [f"{tmp_path}/list:{number}" for number in (1, 3, 4)]
    assert [(entry.text, entry.where) for entry in entries] == [*zip("abc", places, strict=True)]
    assert (entries[-1].text, entries[-1].where) == ("c", places[2])
    assert [entry.text for entry in entries[1:]] == ["b", "c"]
    assert len(entries) == 3
    with pytest.raises(IndexError):
        entries[3]


def test_what_is_kept_of_a_list_costs_the_collector_nothing(tmp_path: Path) -> None:
    gc.collect()
    before = len(gc.get_objects())
    files = write(tmp_path, rcpthosts="".join(f"d{number}.test\n" for number in range(5000)))
    assert len(files.entries("rcpthosts")) == 5000
    gc.collect()
    assert len(gc.get_objects()) < before + 1000
