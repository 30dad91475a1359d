# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from qpsmtpd.errors import DnsError, QpsmtpdError
from qpsmtpd.testing import FakeResolver, dns_failure
from qpsmtpd.trial.names import RecordedResolver, RecordingResolver


async def test_what_was_recorded_is_played_back(tmp_path: Path) -> None:
    real = FakeResolver(
        {
            ("TXT", "a.example"): ["text"],
            ("MX", "a.example"): [(10, "mx.a.example")],
            ("A", "broken.example"): dns_failure(),
        }
    )
    recording = RecordingResolver(real)
    assert await recording.txt("A.example") == ["text"]
    assert await recording.mx("a.example") == [(10, "mx.a.example")]
    assert await recording.exists("nothere.example") is False
    with pytest.raises(DnsError):
        await recording.a("broken.example")
    recording.save(tmp_path / "dns")
    recorded = RecordedResolver.of(tmp_path / "dns")
    assert await recorded.txt("a.EXAMPLE") == ["text"]
    assert await recorded.mx("a.example") == [(10, "mx.a.example")]
    assert await recorded.exists("nothere.example") is False
    with pytest.raises(DnsError, match="SERVFAIL"):
        await recorded.a("broken.example")
    assert not recorded.missing


async def test_what_was_not_recorded_fails_and_is_remembered() -> None:
    recorded = RecordedResolver({})
    with pytest.raises(DnsError, match="not in the recording"):
        await recorded.limited().txt("a.example")
    assert recorded.missing == {"TXT a.example"}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"A x": 1}', '{"A x": {}}', '{"A x": {"records": [1], "exists": true}}']
)
def test_a_file_that_is_no_recording(text: str, tmp_path: Path) -> None:
    (tmp_path / "dns").write_text(text)
    with pytest.raises(QpsmtpdError, match="not a recording"):
        RecordedResolver.of(tmp_path / "dns")
    with pytest.raises(QpsmtpdError, match="No such file"):
        RecordedResolver.of(tmp_path / "missing")
