# SPDX-License-Identifier: MIT
"""The package's own tests (debian/tests) pass on Debian 12 and 13, under Debian's autopkgtest."""

from __future__ import annotations

import functools
import stat

import pytest

from tests.debian_system import CHECKOUT, RELEASES
from tests.packaging.autopkgtests import Declared, Report, declared, groups, run
from tests.packaging.package import built

DIRECTORY = CHECKOUT / "debian/tests"
CASES = [
    pytest.param(release, test.name, id=f"{release}-{test.name}")
    for release in RELEASES
    for test in declared()
]

SUMMARY = {"works": "PASS", "breaks": "FAIL non-zero exit status 1", "waits": "SKIP exit status 77"}
LOG = """\
autopkgtest [12:00]: test works: preparing testbed
autopkgtest [12:01]: test works:  - - - results - - -
works                PASS
autopkgtest [12:02]: test breaks: preparing testbed
the reason
autopkgtest [12:03]: test breaks:  - - - results - - -
breaks               FAIL
"""


@functools.cache
def report(release: str, group: tuple[Declared, ...]) -> Report:
    """Run the tests that share a system; they are all in the report, if it could be made."""
    try:
        return run(release, group, built().data)
    except RuntimeError as error:
        return Report({}, str(error))


@pytest.mark.real_systems
@pytest.mark.parametrize(("release", "name"), CASES)
def test_autopkgtest(release: str, name: str) -> None:
    """One test of debian/tests/control; a skipped one has failed, for here it can be run."""
    group = next(tests for tests in groups(declared()) if name in {test.name for test in tests})
    failure = report(release, group).failure(name)
    if failure:
        pytest.fail(failure, pytrace=False)


def test_every_program_is_declared_and_every_test_is_a_program() -> None:
    programs = {path.name for path in DIRECTORY.iterdir() if path.stat().st_mode & stat.S_IXUSR}
    assert programs - {"traffic"} == {test.name for test in declared()}


def test_tests_that_change_the_system_say_so() -> None:
    """Who configures the service needs a system where that harms nobody."""
    for test in declared():
        if "\nconfigure <<" in (DIRECTORY / test.name).read_text():
            assert {"needs-root", "isolation-container"} <= test.restrictions, test.name


def test_a_passed_test_is_no_failure() -> None:
    assert Report(SUMMARY, LOG).failure("works") is None


def test_a_failed_test_comes_with_its_part_of_the_log() -> None:
    failure = Report(SUMMARY, LOG).failure("breaks") or ""
    assert "the reason" in failure
    assert failure.endswith(" FAIL non-zero exit status 1")
    assert "works" not in failure


def test_a_test_that_was_skipped_or_not_run_has_failed() -> None:
    assert "SKIP exit status 77" in (Report(SUMMARY, LOG).failure("waits") or "")
    assert "does not mention it" in (Report(SUMMARY, LOG).failure("unheard-of") or "")
