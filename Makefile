# Everything sets itself up: `make demo` and `make test` need Python 3.11 or 3.12 with venv, and nothing else that pip cannot bring.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check

.PHONY: help setup demo test bench bench-train ablate bench-clean bench-bases bench-swaps bench-kill fuzz look lint clean

help:
	@echo "make demo [QUICK=1] [PHOTOS=\"persona.jpg wearer.jpg\"]   the whole main job, without camera or data"
	@echo "make test                                              the tests"
	@echo "make bench [MODEL=checkpoint]                          live at 720p30, clips, stages, training on this machine"
	@echo "make bench-train [PARTS=\"quality original architectures steps memory\"] [PAIRS=…] [FOR=30m] [TORCH=python]  time to quality, steps a second, memory"
	@echo "make ablate [SECONDS=60] [SEEDS=5]                     batch norm, residual blocks and stacked pretraining on one budget"
	@echo "make bench-clean [PAIR=drawn:8401] [STEPS=240] [RECIPE=light] [FROM=base|none] [TO=bench/clean]  faces as filmed, spoiled and cleaned, augmented and not"
	@echo "make bench-bases STILLS=folder [CACHE=faces.npy] [PAIRS=…] [FOR=8m]  three ways to a base on one budget"
	@echo "make bench-swaps PAIRS=\"drawn:8401 a.jpg,b.jpg\" [FOR=1m,5m] quality after so many minutes of training"
	@echo "make bench-kill [COUNT=50] [RECIPE=light]              training killed at random instants and resumed"
	@echo "make fuzz [COUNT=10000] [SEED=0]                       broken clips, photos, face sets, also other programs', checkpoints, settings, recipes"
	@echo "make look [MODEL=checkpoint] [TO=folder]               contact sheets of the clips in LIVEPASTE_CLIPS and stills in LIVEPASTE_STILLS"
	@echo "make lint                                              ruff"

setup: $(VENV)/installed

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 12)))' 2>/dev/null || \
	  { echo "livepaste needs Python 3.11 or 3.12 with venv; install it (Debian: apt install python3-venv) or name it: make PYTHON=python3.11 …"; exit 1; }
	@if [ "$$(uname)" = Linux ]; then for lib in libGL.so.1 libglib-2.0.so.0; do \
	  $(PYTHON) -c "import ctypes; ctypes.CDLL('$$lib')" 2>/dev/null || \
	  { echo "$$lib is missing; install it (Debian: apt install libgl1 libglib2.0-0, Fedora: dnf install mesa-libGL glib2)"; exit 1; }; done; fi
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) --require-hashes --no-deps -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	$(BIN)/python -m livepaste.cli.demo $(if $(QUICK),--quick) $(if $(PHOTOS),--photos $(PHOTOS))

test: setup
	$(BIN)/ruff check
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

bench: setup
	$(BIN)/python benchmarks/bench.py $(if $(MODEL),--model $(MODEL))

ablate: setup
	$(BIN)/python benchmarks/ablate.py $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEEDS),--seeds $(SEEDS))

bench-clean: setup
	$(BIN)/python benchmarks/cleaning.py $(or $(PAIR),drawn:8401) $(if $(STEPS),--steps $(STEPS)) $(if $(RECIPE),--recipe $(RECIPE)) $(if $(FROM),--base $(FROM)) $(if $(TO),--to $(TO))

bench-train: setup
	$(BIN)/python benchmarks/bench_train.py $(PARTS) $(if $(PAIRS),--pairs $(PAIRS)) $(if $(FOR),--for $(FOR)) $(if $(TORCH),--torch $(TORCH))

bench-bases: setup
	$(BIN)/python benchmarks/bases.py $(or $(PAIRS),drawn:8401) --stills $(STILLS) $(if $(CACHE),--cache $(CACHE)) $(if $(FOR),--for $(FOR))

bench-swaps: setup
	$(BIN)/python benchmarks/swaps.py $(or $(PAIRS),drawn:8401) $(if $(FOR),--for $(FOR))

bench-kill: setup
	$(BIN)/python benchmarks/kill.py --count $(or $(COUNT),50) $(if $(RECIPE),--recipe $(RECIPE))

fuzz: setup
	$(BIN)/python benchmarks/fuzz.py --count $(or $(COUNT),10000) --seed $(or $(SEED),0)

look: setup
	$(BIN)/python benchmarks/look.py $(if $(MODEL),--model $(MODEL)) $(if $(TO),--to $(TO))

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

clean:
	rm -rf demo bench ablate look build dist
