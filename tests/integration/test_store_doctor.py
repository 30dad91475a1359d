# SPDX-License-Identifier: MIT
"""What the doctor says of real Sentinels and of a real Cluster."""

from __future__ import annotations

from qpsmtpd.plugin.finding import Severity
from tests.redis_groups import SERVICE, redis_cluster, sentinel_group
from tests.unit.doctor.conftest import machine
from tests.unit.doctor.fakes import FakeMachine
from tests.unit.doctor.test_storechecks import found, only

__all__ = ["machine"]


def test_sentinels(machine: FakeMachine) -> None:
    with sentinel_group() as group:
        assert {finding.severity for finding in found(machine, group.url)} == {Severity.OK}
        few = group.url.replace(f",127.0.0.1:{group.sentinels[-1].port}", "")
        (notice,) = (f for f in found(machine, few) if f.severity is Severity.NOTICE)
        assert "with three, one may be down" in notice.text
        *_, error = found(machine, group.url.replace(f"/{SERVICE}", "/other"))
        assert "do not know a master of this name" in error.text
        *_, error = found(machine, f"redis+sentinel://127.0.0.1:{group.master.port}/{SERVICE}")
        assert "a server and not a Sentinel" in error.text
        assert (
            "this is a Sentinel"
            in only(machine, f"redis://127.0.0.1:{group.sentinels[0].port}").text
        )
        group.sentinels[0].kill()
        first, *others = found(machine, group.url)
        assert (first.severity, first.text[:20]) == (Severity.WARNING, "nobody listens there")
        assert {finding.severity for finding in others} == {Severity.OK}


def test_a_cluster(machine: FakeMachine) -> None:
    with redis_cluster() as cluster:
        good = found(machine, cluster.url)
        assert [f.severity for f in good] == [Severity.OK] * 3
        assert "has 546" in good[0].text
        plain = f"redis://127.0.0.1:{cluster.masters[0].port}"
        texts = {only(machine, f"redis://127.0.0.1:{m.port}").text for m in cluster.masters[1:]}
        assert any("a node of a Cluster" in text for text in texts), (plain, texts)
        cluster.masters[0].kill()
        bad = found(machine, cluster.url)
        assert Severity.ERROR in {f.severity for f in bad}
        for master in cluster.masters:
            master.kill()
        assert "nobody listens there" in only(machine, cluster.url).text
