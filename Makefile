# backforth: `make demo` runs the whole method on this machine, `make test` runs the tests. `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
comma  := ,
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

METHOD    ?= qlora
BASE      ?=
DATASET   ?=
GPUS      ?=
SET       ?=
JOBS      ?= 2

# The settings of a base that training/configs knows; another base has the defaults, which are the paper's.
known      = $(if $(or $(findstring $(1),$(BASE)),$(findstring $(2),$(BASE))),$(3))
FAMILY     = $(firstword $(call known,Llama-2-7b,llama-2-7b,paper-7b) $(call known,Llama-2-70b,llama-2-70b,paper-70b) \
	$(call known,OLMo-2-1124-7B,olmo-2-1124-7b,olmo2-7b) $(call known,SmolLM2-135M,smollm2-135m,smollm2-135m))
CONFIG    ?= $(wildcard training/configs/$(FAMILY)-$(METHOD).yaml)

export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo serve stop test check format train-backward train-forward train-final clean

help: ## List the targets
	@grep -E '^[a-z][a-z|-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: $(READY) ## Put everything that is needed into .venv

# torch goes first: a CPU build that pip finds is taken as it is, and nothing after it asks for another one.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "backforth needs Python 3.11, 3.12 or 3.13; name one with: make setup PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt torch
	$(PIP) install --constraint constraints.txt --editable '.[train,serve,scale,dev$(if $(wildcard /dev/nvidia0),$(comma)gpu)]'
	@touch $@

demo: $(READY) ## Run the whole method, small and real: about ten minutes on two cores
	$(BIN)/backforth run hub_tools/recipes/demo.yaml

serve: $(READY) ## Bring the demo's Hub up again and stay in front (Ctrl-C ends it)
	$(BIN)/backforth hub serve --store .backforth/hub

stop: $(READY) ## Stop the demo's Hub; what was published stays in .backforth/hub
	$(BIN)/backforth hub stop --store .backforth/hub

# METHOD=full|lora|qlora BASE=ns/model@revision DATASET=ns/name@v2 [GPUS=8] [CONFIG=file.yaml] [SET='steps=20 seed=1']
# Several GPUs split what full trains, and copy the rest: a base in 4 bits fits on each.
define train
	@test -n "$(BASE)" && test -n "$(DATASET)" || \
		{ echo "usage: make $@ METHOD=full|lora|qlora BASE=ns/model@revision DATASET=ns/name@v2 [GPUS=8] [CONFIG=...] [SET='steps=20']" >&2; exit 2; }
	$(BIN)/backforth train $(subst train-,,$@) --base '$(BASE)' --dataset '$(DATASET)' --method '$(METHOD)' \
		$(if $(CONFIG),--config '$(CONFIG)') \
		$(if $(GPUS),--set 'processes=$(GPUS)' --set 'sharding=$(if $(filter full,$(METHOD)),fsdp2,ddp)') \
		$(foreach pair,$(SET),--set '$(pair)')
endef

train-backward: $(READY) ## Train a backward model on published seed pairs
	$(train)

train-forward: $(READY) ## Train a forward model on published seed pairs
	$(train)

train-final: $(READY) ## Train a final model on a published mix
	$(train)

# Some tests open pages in Chromium or start Slurm; a machine without those runs all the others, and says so.
CHROMIUM ?= $(firstword $(wildcard /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome))
SLURM    := $(wildcard /usr/sbin/slurmctld)
MARKS    := not gpu$(if $(CHROMIUM),, and not browser)$(if $(SLURM),, and not slurm)

test: $(READY) ## Run every test that needs no GPU, in JOBS processes (2)
	@$(if $(CHROMIUM),true,echo "There is no Chromium here: tests marked browser are left out (apt install chromium).")
	@$(if $(SLURM),true,echo "There is no Slurm here: tests marked slurm are left out (apt install slurm-wlm).")
	CHROMIUM='$(CHROMIUM)' OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m '$(MARKS)' -n $(JOBS) --dist loadfile

check: $(READY) ## Check style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## Bring the code into form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Delete the environment and caches; .backforth, which holds your data, stays
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
