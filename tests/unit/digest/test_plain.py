# SPDX-License-Identifier: MIT
from __future__ import annotations

import json

from qpsmtpd.digest.plain import plain
from tests.unit.digest.examples import (
    DAY,
    a_digest,
    accepted,
    said,
    shadow_with,
)


async def test_as_json() -> None:
    told = json.loads(json.dumps(plain(await a_digest())))
    assert told["totals"] == {"accepted": 2, "deferred": 1, "refused": 3}
    assert told["period"]["until"] - told["period"]["since"] == DAY
    assert told["course"][0]["counts"]["refused"] == 3
    shadow = json.loads(json.dumps(plain(await shadow_with(accepted(1, trail=(said(),))))))
    assert shadow["objections"][0]["examples"][0]["id"] == "A.B.0.1"
