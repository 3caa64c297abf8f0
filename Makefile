# Everything runs in .venv, which is made when it is missing. Needs only python3 (3.11 or later) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 7860

.PHONY: help demo web book classroom test test-slow test-all lab lint tables notebooks figures bench clean pins
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(VENV)/app-ready ## the app in your browser, http://127.0.0.1:7860 (HOST=, PORT=)
	$(BIN)/python app.py --host $(HOST) --port $(PORT)

web: $(VENV)/app-ready ## the page without a server, into build/web, at http://127.0.0.1:8000 (needs npm)
	$(BIN)/python web/build.py --serve 8000

book: $(VENV)/ready ## the book, into build/book: chapters, results, glossary, API (and the page, if build/web is there)
	$(BIN)/python docs/book/make_book.py

classroom: $(VENV)/ready ## the chapters for a class, into build/classroom and a zip: no solutions, no outputs
	$(BIN)/python notebooks/classroom.py

test: $(VENV)/ready ## the tests, without the slow ones, on all cores
	$(BIN)/python -m pytest -n auto -m "not slow"

test-slow: $(VENV)/ready ## the slow ones: notebooks, the wheel, attacks, shipped figures
	$(BIN)/python -m pytest -n auto -m slow

test-all: test test-slow ## all tests that can run here

lab: $(VENV)/ready ## the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

lint: $(VENV)/ready ## style of code and notebooks, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

tables: $(VENV)/ready ## rebuild the tables of README.md and docs/ from results/
	$(BIN)/python benchmarks/tables.py

notebooks: $(VENV)/ready ## run all notebooks again, in place (needs Chromium; see notebooks/README.md)
	PLOTLY_RENDERER=png FERLIB_PICTURES=1 TQDM_DISABLE=1 $(BIN)/jupyter nbconvert --to notebook --execute --inplace \
	    --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False notebooks/*.ipynb
	$(BIN)/python notebooks/shrink.py notebooks/0[1267]_*.ipynb

figures: notebooks ## rebuild every picture of the notebooks and of README.md
	FERLIB_SCREENSHOTS=docs $(BIN)/python -m pytest -m browser -k two_faces tests/test_app_browser.py

bench: $(VENV)/ready ## measure what chapter 3 claims about speed and memory, into results/ (leave the machine alone)
	$(BIN)/python benchmarks/training.py

clean: ## remove the environment
	rm -rf $(VENV)

pins: $(VENV)/ready ## renew constraints.txt after a change of requirements.txt or requirements-app.txt
	cat requirements-app.txt requirements.txt | grep -v '^-' | $(BIN)/uv pip compile --quiet --universal \
	    --python-version 3.11 --no-emit-index-url --no-header --no-annotate --output-file constraints.txt -

# uv installs packages several times faster than pip does
$(BIN)/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ferlib needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9

# the light half: photos and the page
$(VENV)/app-ready: requirements-app.txt constraints.txt | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-app.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

# the lab too; on Linux, PyTorch brings 3.4 GB of libraries for NVIDIA's GPUs along, whether there is one or not
$(VENV)/ready: requirements.txt $(VENV)/app-ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.txt
	touch $@
