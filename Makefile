# SPDX-License-Identifier: MIT
# `make` alone prints every command.  Each command does its own set-up.

PYTHON ?= python3
PORT   ?= 2525
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.complete
PYTEST := $(BIN)/python -m pytest -q
# As many processes as there are processors; one that has no tests left takes over those of another.
SHARED := -n auto --dist worksteal
# Twice as many, since half of the time they wait; 20 examples of each property; and dialogues on the
# event loop that the package uses.  `make test` tries 100 examples, and plays them on both loops.
QUICK  := -n $$((2 * $$(nproc))) --hypothesis-profile=check -k "not (test_dialogues and asyncio)"
# Nothing fails for being slow, but what takes longer is printed: its place is another folder.
SLOW   := --durations=25 --durations-min=0.5
# Three systems at a time, as each waits for half of its time; and the tests of a file in one process:
# they share what is booted.
SYSTEMS := -n 3 --dist loadfile

# Daemons are started thousands of times, and are not to be compiled each time.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help run venv check test fuzz soak test-systems lint types unit dialogue bench bench-instructions bench-quick deb \
  autopkgtest piuparts man clean

help: ## print the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: venv ## start the daemon on 127.0.0.1:2525 (PORT=...), delivering into ./run/Maildir
	@BIN=$(BIN) PORT=$(PORT) sh tests/run-demo.sh

venv: $(STAMP) ## make .venv with qpsmtpd and the tools in it

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "qpsmtpd needs Python 3.11 or newer; set PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fast,debian,dev]'
	@touch $@

check: lint types ## ruff, mypy --strict, unit and dialogue tests: after every change (one to three minutes)
	$(PYTEST) $(QUICK) $(SLOW) tests/unit tests/dialogue

lint: venv ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv ## mypy --strict
	$(BIN)/mypy

unit: venv ## unit tests alone
	$(PYTEST) $(SHARED) tests/unit

dialogue: venv ## SMTP dialogue scripts; FILE=... TO=HOST:PORT runs one against any host
	@if [ -n "$(FILE)" ]; then $(BIN)/qpsmtpd dialogue $(FILE) $(if $(TO),--to $(TO)); \
	else $(PYTEST) tests/dialogue; fi

test: lint types ## check, and all else that needs neither root nor booted systems (seven to fifteen minutes)
	$(PYTEST) $(SHARED) -rs -m "not real_systems"

fuzz: venv ## random dialogues and inputs; DIALOGUES=100000 INPUTS=1000000 SEED= FIRST=
	$(BIN)/python -m tests.fuzz --dialogues $(or $(DIALOGUES),100000) \
	  --inputs $(or $(INPUTS),1000000) $(if $(SEED),--seed $(SEED)) $(if $(FIRST),--first $(FIRST))

soak: venv ## mail for HOURS=1 with reloads, kills and outages; figures and pictures in build/soak
	$(BIN)/python -m tests.continuity.soak --hours $(or $(HOURS),1)

test-systems: venv ## what boots Debian 12 and 13 or runs other servers (root on Debian, an hour)
	$(PYTEST) -rs $(SYSTEMS) -m real_systems

bench: venv ## us and other servers under the same load (50 minutes, root on Debian; ARGS=...)
	$(BIN)/python -m tests.bench --publish $(ARGS)

bench-instructions: venv ## instructions and cache misses of a message (3 minutes, valgrind; ARGS=...)
	$(BIN)/python -m tests.bench.instructions $(ARGS)

bench-quick: venv ## us and bare aiosmtpd in five cases (2 minutes; ARGS="--against COMMIT")
	$(BIN)/python -m tests.bench --quick $(ARGS)

deb: ## build the Debian package into dist/ (needs Debian's build dependencies)
	@debian/build

autopkgtest: venv ## the package's own tests in Debian 12 and 13 (root); RELEASE=bookworm TEST=smoke DEB=FILES
	$(BIN)/python -m tests.packaging.autopkgtests \
	  $(addprefix --release=,$(RELEASE)) $(addprefix --test=,$(TEST)) $(addprefix --package=,$(DEB))

piuparts: venv ## Debian's piuparts on 12 and 13: install, upgrade, purge (root on Debian, 4 minutes)
	$(PYTEST) -rs tests/packaging/test_piuparts.py

man: venv ## write the manual pages to build/man
	$(BIN)/python -m qpsmtpd.manpages build/man

clean: ## remove what the commands above made
	rm -rf $(VENV) run build dist *.egg-info .mypy_cache .ruff_cache
