# SPDX-License-Identifier: MIT
"""ident/geoip: note where clients are, by the databases of MaxMind.

    ident/geoip [db_dir DIR] [distance IP] [too_far KM] [add_headers no]

The databases are the administrator's: GeoLite2-City.mmdb, or else GeoLite2-Country.mmdb, and
GeoLite2-ASN.mmdb if it is there (or GeoIP2-... in place of GeoLite2-...). They are looked for in
`db_dir`, or else in /usr/local/share/GeoIP, /var/lib/GeoIP and /usr/share/GeoIP. Packages such as
geoipupdate fetch them; a reload has the daemon read new ones. It needs python3-maxminddb. Without
that, or without databases, the plugin does nothing, and check-config says so.

What is found is in the notes `geoip_country` (US), `geoip_country_name`, `geoip_continent` (NA),
`geoip_city`, `geoip_asn` and `geoip_distance` for other plugins; the option `geoip` of greylisting
goes by it. A message gets the fields X-GeoIP-Country, X-GeoIP-Continent, X-GeoIP-City and
X-GeoIP-ASN, in place of any that it has, unless `add_headers` is no.

With `distance` and the address of this site, the distance of a client in kilometres is noted too.
If it is more than `too_far`, the client loses a point of karma. Nobody is refused.

Differences from the Perl version: databases of the format before GeoIP2 are not read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpsmtpd.api import (
    ConfigError,
    Finding,
    IPAddress,
    Note,
    Plugin,
    Session,
    System,
    Transaction,
    Verdict,
    matching,
    opt,
    parse_ip,
    printable_ascii,
)

if TYPE_CHECKING:
    from maxminddb import Reader

COUNTRY = Note[str]("geoip_country")
COUNTRY_NAME = Note[str]("geoip_country_name")
CONTINENT = Note[str]("geoip_continent")
CITY = Note[str]("geoip_city")
ASN = Note[str]("geoip_asn")
#: In kilometres.
DISTANCE = Note[float]("geoip_distance")

_FIELDS = {
    "X-GeoIP-ASN": ASN,
    "X-GeoIP-City": CITY,
    "X-GeoIP-Continent": CONTINENT,
    "X-GeoIP-Country": COUNTRY,
}

#: Where databases are looked for, and what they are called.
_DIRECTORIES = ("/usr/local/share/GeoIP", "/var/lib/GeoIP", "/usr/share/GeoIP")
_PLACES = ("GeoLite2-City", "GeoIP2-City", "GeoLite2-Country", "GeoIP2-Country")
_NETWORKS = ("GeoLite2-ASN", "GeoIP2-ISP")

_MISSING = (
    "does nothing: it needs a database such as GeoLite2-City.mmdb, and python3-maxminddb to read it"
)

#: Kilometres.
_RADIUS = 6371.0


def _is_ip(text: str) -> bool:
    try:
        parse_ip(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class GeoipOptions:
    """Options of ident/geoip."""

    db_dir: str = opt("", doc="The directory of the databases.")
    distance: str = opt(
        "",
        doc="The address of this site, to tell how far away clients are.",
        check=matching(_is_ip, "an IP address"),
    )
    too_far: float = opt(0.0, least=0, doc="Kilometres that cost a point of karma; 0 for none.")
    add_headers: bool = opt(True, doc="Whether messages get header fields.")


Position = tuple[float, float]


class Geoip(Plugin[GeoipOptions]):
    """Looks clients up in the databases."""

    async def start(self) -> None:
        self._databases: list[Reader] = []
        self._here: Position | None = None
        with suppress(ImportError):
            self._databases = [open_database(path) for path in self._files(Path)]
        if not self._databases:
            self.services.config.warn("", _MISSING)
        if self.options.distance:
            self._here = _position(self._find(parse_ip(self.options.distance)))

    async def stop(self) -> None:
        for database in self._databases:
            database.close()

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether there are databases, and the library that reads them."""
        files = list(self._files(system.path))
        for path in files:
            yield Finding.ok(str(path), "is there")
        if not files or find_spec("maxminddb") is None:
            advice = "Install python3-maxminddb and geoipupdate, and set that up."
            yield Finding.warning(self.name, _MISSING, advice)

    async def hook_connect(self, session: Session) -> Verdict | None:
        if session.client_is_local or not self._databases:
            return None
        found = self._find(session.client_address)
        for note, value in _notes(found).items():
            if value:
                session.notes[note] = value
        self._measure(session, _position(found))
        country, city = session.notes.get(COUNTRY, ""), session.notes.get(CITY, "")
        self.log_about(session, "country=%s city=%r", country, city)
        return None

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        if not (self.options.add_headers and self._databases and tx.message is not None):
            return None
        for name, note in _FIELDS.items():
            tx.message.headers.remove(name)
            value = printable_ascii(tx.session.notes.get(note, ""))
            if value:
                tx.message.headers.prepend(name, value)
        return None

    # --- private ----------------------------------------------------------------------------

    def _files(self, place: Any) -> Iterator[Path]:
        """The first database of places, and the first of networks; `place` finds a path."""
        directories = [self.options.db_dir] if self.options.db_dir else _DIRECTORIES
        for names in (_PLACES, _NETWORKS):
            paths = (Path(d, f"{name}.mmdb") for name in names for d in directories)
            yield from [path for path in paths if place(path).exists()][:1]

    def _measure(self, session: Session, there: Position | None) -> None:
        """Note how far away the client is, if both places are known."""
        if self._here and there:
            distance = session.notes[DISTANCE] = kilometres(self._here, there)
            if self.options.too_far and distance > self.options.too_far:
                session.adjust_karma(-1)

    def _find(self, address: IPAddress) -> Mapping[str, Any]:
        """What the databases say about an address, all together."""
        found: dict[str, Any] = {}
        for database in self._databases:
            try:
                entry = database.get(str(address))
            except ValueError:  # an IPv6 address, and a database without any
                entry = None
            if isinstance(entry, dict):
                found |= entry
        return found


def open_database(path: Path) -> Reader:
    """Open a database.  Raises ConfigError, or ImportError without the library."""
    import maxminddb

    try:
        return maxminddb.open_database(str(path))
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})") from None


def _notes(found: Mapping[str, Any]) -> dict[Note[str], str]:
    number = found.get("autonomous_system_number")
    return {
        COUNTRY: _text(found, "country", "iso_code"),
        COUNTRY_NAME: _text(found, "country", "names", "en"),
        CONTINENT: _text(found, "continent", "code"),
        CITY: _text(found, "city", "names", "en"),
        ASN: str(number) if isinstance(number, int) else "",
    }


def _text(found: Any, *keys: str) -> str:
    """A text within maps; "" if it is not there."""
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def _position(found: Mapping[str, Any]) -> Position | None:
    location = found.get("location")
    if not isinstance(location, dict):
        return None
    latitude, longitude = location.get("latitude"), location.get("longitude")
    if isinstance(latitude, float) and isinstance(longitude, float):
        return latitude, longitude
    return None


def kilometres(here: Position, there: Position) -> float:
    """The distance of two places on the globe, each with latitude and longitude in degrees."""
    (a, b), (c, d) = (map(math.radians, place) for place in (here, there))
    half = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * _RADIUS * math.asin(math.sqrt(min(1.0, half)))
