# SPDX-License-Identifier: MIT
"""ident/geoip, with small databases."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import ConfigError, Session
from qpsmtpd.plugins.ident import geoip
from qpsmtpd.plugins.ident.geoip import (
    ASN,
    CITY,
    CONTINENT,
    COUNTRY,
    COUNTRY_NAME,
    DISTANCE,
    Geoip,
    kilometres,
)
from qpsmtpd.testing import FakeSystem, a_plugin, a_session, a_transaction, findings_of
from tests.unit.plugins.ident.mmdb import write_database

pytest.importorskip("maxminddb", reason="needs python3-maxminddb")

SYRACUSE = {
    "country": {"iso_code": "US", "names": {"de": "USA", "en": "United States"}},
    "continent": {"code": "NA", "names": {"en": "North America"}},
    "city": {"names": {"en": "Syracuse"}},
    "location": {"latitude": 43.0, "longitude": -76.1},
}
BERLIN = {
    "country": {"iso_code": "DE", "names": {"en": "Germany"}},
    "city": {"names": {"en": "Köln\r\nX: y"}},
    "location": {"latitude": 52.5, "longitude": 13.4},
}
ODD = {"country": "US", "continent": {"code": 7}, "city": {}, "location": {"latitude": 1}}
PLACES = {
    "24.24.24.0/24": SYRACUSE,
    "192.0.2.0/24": BERLIN,
    "203.0.113.0/24": ODD,
    "2001:db8::/32": BERLIN,
}


@pytest.fixture
def db_dir(tmp_path: Path) -> Path:
    write_database(tmp_path / "GeoLite2-City.mmdb", PLACES)
    write_database(
        tmp_path / "GeoLite2-ASN.mmdb", {"24.24.24.0/24": {"autonomous_system_number": 64496}}, 4
    )
    return tmp_path


async def met(db_dir: Path, ip: str, line: str = "") -> tuple[Geoip, Session]:
    plugin = await a_plugin(Geoip, f"db_dir {db_dir} {line}", name="geoip")
    session = a_session(ip)
    assert await plugin.hook_connect(session) is None
    await plugin.stop()
    return plugin, session


async def test_notes(db_dir: Path) -> None:
    _, session = await met(db_dir, "24.24.24.24")
    notes = [session.notes.get(n) for n in (COUNTRY, COUNTRY_NAME, CONTINENT, CITY, ASN)]
    assert notes == ["US", "United States", "NA", "Syracuse", "64496"]
    assert DISTANCE not in session.notes
    assert session.karma == 0


@pytest.mark.parametrize("ip", ["198.51.100.1", "203.0.113.5", "127.0.0.1", "2001:db9::1"])
async def test_nothing_is_known(db_dir: Path, ip: str) -> None:
    _, session = await met(db_dir, ip)
    assert not any(n in session.notes for n in (COUNTRY, COUNTRY_NAME, CONTINENT, CITY, ASN))


async def test_ipv6(db_dir: Path) -> None:
    _, session = await met(db_dir, "2001:db8::1")
    assert session.notes[COUNTRY] == "DE"


async def test_a_country_is_enough(tmp_path: Path) -> None:
    write_database(tmp_path / "GeoLite2-Country.mmdb", {"192.0.2.0/24": BERLIN}, 4)
    _, session = await met(tmp_path, "192.0.2.9")
    assert session.notes[COUNTRY] == "DE"
    _, session = await met(tmp_path, "2001:db8::1")
    assert COUNTRY not in session.notes


@pytest.mark.parametrize(("line", "karma"), [("", 0), ("too_far 7000", 0), ("too_far 6000", -1)])
async def test_distance(db_dir: Path, line: str, karma: int) -> None:
    _, session = await met(db_dir, "24.24.24.24", f"distance 192.0.2.1 {line}")
    assert session.notes[DISTANCE] == pytest.approx(6400, abs=100)
    assert session.karma == karma


@pytest.mark.parametrize("ip", ["198.51.100.1", "203.0.113.5"])
async def test_a_distance_that_is_not_known(db_dir: Path, ip: str) -> None:
    _, session = await met(db_dir, ip, "distance 192.0.2.1 too_far 1")
    assert DISTANCE not in session.notes
    assert session.karma == 0


@given(*[st.tuples(st.floats(-90, 90), st.floats(-180, 180))] * 2)
def test_distances(here: tuple[float, float], there: tuple[float, float]) -> None:
    distance = kilometres(here, there)
    assert 0 <= distance <= 20016
    assert kilometres(there, here) == pytest.approx(distance, abs=1e-3)
    assert kilometres(here, here) == pytest.approx(0, abs=1e-3)


FORGED = "X-GeoIP-Country: forged\nX-GeoIP-City: forged\nX-GeoIP-ASN: 1\nSubject: x\n\nHello.\n"


@pytest.mark.parametrize(
    ("ip", "line", "fields"),
    [
        ("24.24.24.24", "", ["US", "NA", "Syracuse", "64496"]),
        ("192.0.2.9", "", ["DE", None, "K?ln??X: y", None]),
        ("198.51.100.1", "", [None, None, None, None]),
        ("24.24.24.24", "add_headers no", ["forged", None, "forged", "1"]),
    ],
)
async def test_header_fields(db_dir: Path, ip: str, line: str, fields: list[str | None]) -> None:
    plugin, session = await met(db_dir, ip, line)
    tx = a_transaction(session=session, message=FORGED)
    assert tx.message is not None
    assert await plugin.hook_data_post(tx) is None
    names = ("X-GeoIP-Country", "X-GeoIP-Continent", "X-GeoIP-City", "X-GeoIP-ASN")
    assert [tx.message.headers.get(name) for name in names] == fields
    assert all(len(tx.message.headers.get_all(name)) <= 1 for name in names)


def warnings_of(plugin: Any) -> list[str]:
    warnings: list[str] = plugin.services.config.warnings
    return warnings


async def test_without_databases(tmp_path: Path) -> None:
    plugin, session = await met(tmp_path, "192.0.2.9")
    assert COUNTRY not in session.notes
    (warning,) = warnings_of(plugin)
    assert geoip._MISSING in warning


async def test_without_the_library(db_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    plugin, session = await met(db_dir, "192.0.2.9")
    assert COUNTRY not in session.notes
    (warning,) = warnings_of(plugin)
    assert geoip._MISSING in warning


async def test_the_doctor_looks_for_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geoip, "find_spec", lambda _: None)
    (tmp_path / "usr/share/GeoIP").mkdir(parents=True)
    (tmp_path / "usr/share/GeoIP/GeoLite2-City.mmdb").touch()
    found = await findings_of(await a_plugin(Geoip, name="geoip"), FakeSystem(tmp_path))
    assert [finding.text for finding in found] == ["is there", geoip._MISSING]


async def test_a_database_that_is_damaged(db_dir: Path) -> None:
    (db_dir / "GeoLite2-City.mmdb").write_bytes(b"x" * 1000)
    with pytest.raises(ConfigError) as caught:
        await met(db_dir, "192.0.2.9")
    assert caught.value.where == str(db_dir / "GeoLite2-City.mmdb")


async def test_findings(tmp_path: Path) -> None:
    plugin = await a_plugin(Geoip, name="geoip")
    system = FakeSystem(tmp_path)
    (missing,) = await findings_of(plugin, system)
    assert missing.text == geoip._MISSING
    directory = tmp_path / "usr/share/GeoIP"
    directory.mkdir(parents=True)
    (directory / "GeoLite2-Country.mmdb").touch()
    (there,) = await findings_of(plugin, system)
    assert there.subject == "/usr/share/GeoIP/GeoLite2-Country.mmdb"


async def test_wrong_options() -> None:
    with pytest.raises(ConfigError) as caught:
        await a_plugin(Geoip, "distance here")
    assert "'here' is not an IP address" in str(caught.value)
