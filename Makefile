# Two commands set everything up on a fresh machine: `make demo` and `make test`.
#
#   PYTHON=python3.12          another interpreter
#   PIP_ARGS="--extra-index-url ADDRESS"
#                              passed to pip as it is, for PyTorch's CPU builds say
#   PYTEST_ARGS="-q tests/wire"
#                              passed to pytest as it is

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=

PIP = $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet -c constraints.txt $(PIP_ARGS)

.PHONY: demo test check clean

demo: $(VENV)/.installed-demo
	$(VENV)/bin/swarmdem demo

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.installed-test
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

clean:
	rm -rf $(VENV)

# A stamp is written after its step succeeded, so an interrupted installation is taken up again.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "swarmdem needs Python 3.11 or newer as '$(PYTHON)'; name another with: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments; on Debian: sudo apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing swarmdem and PyTorch into $(VENV) (once; this may take some minutes) ..."
	$(PIP) -e '.[torch]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing swarmdem with its test tools into $(VENV) (once) ..."
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed-demo
