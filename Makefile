# Everything runs in .venv. It has what pyproject.toml lists, in the exact versions of requirements-dev.txt.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

# Installs a Debian package that a target needs, as CI does. On other systems, install the package yourself.
debian = apt-get install --yes --no-install-recommends $(1) || { apt-get update && apt-get install --yes --no-install-recommends $(1); }

.PHONY: demo test kubelets test-kubelets test-ways test-browser test-deployment image test-image cluster cluster-down e2e e2e-roll-outs soak check generate bench lock clean

demo: $(READY)
	$(BIN)/plugin-gateway demo

test: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses 4 --ignore=tests/kubelets --ignore=tests/browser --ignore=tests/deployment --ignore=tests/image --ignore=tests/cluster $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	@echo "left out: what needs Go (make test-kubelets, make test-deployment) or a browser (make test-browser), runc (make test-image) or a whole Kubernetes (make e2e)"

# Builds genuine device managers of eight releases. The first time takes ten minutes and downloads their Go modules.
kubelets: $(READY)
	$(BIN)/python tests/kubelets/build.py

# Shared GPUs, MIG devices, network cards and the ways into a container are tested with three of them. KUBELETS=all takes all, KUBELETS=v1.9.7,v1.36.3 these two.
test-kubelets: kubelets
	KUBELETS=$(KUBELETS) $(BIN)/python -m pytest --numprocesses 4 tests/kubelets $(PYTEST_ARGS)

# How containers are told their GPUs, with all releases. `make test-kubelets` takes three, and 1.9 for its dialect.
test-ways: kubelets
	KUBELETS=all $(BIN)/python -m pytest --numprocesses 4 tests/kubelets/test_ways.py $(PYTEST_ARGS)

# Checks the manifests, the chart and the examples against the API of six releases. The API documents are in Go modules.
HELM := build/helm/helm
PROMLINT := build/promlint/promlint
test-deployment: $(READY) $(HELM) $(PROMLINT)
	command -v systemd-analyze || $(call debian,systemd)
	$(BIN)/python -m pytest --numprocesses 2 tests/deployment $(PYTEST_ARGS)

# Builds the image for release, on a base image that is made here. Needs root and Debian.
image: $(READY)
	$(BIN)/python tests/image/build.py

test-image: $(READY)
	$(BIN)/python tests/image/build.py operator
	$(BIN)/python -m pytest --numprocesses 2 -rP tests/image $(PYTEST_ARGS)

# Starts a Kubernetes of one node with eight GPUs, in its own namespaces. The first build takes a quarter of an hour.
cluster: $(READY) image
	PYTHONPATH=tests $(BIN)/python -m cluster needs
	$(BIN)/python tests/cluster/build.py cluster
	PYTHONPATH=tests $(BIN)/python -m cluster up

cluster-down: $(READY)
	PYTHONPATH=tests $(BIN)/python -m cluster down

# Tests the gateway in such a cluster, with pods that ask for GPUs. Writes the results to docs/cluster.md.
e2e: $(READY) image $(HELM)
	PYTHONPATH=tests $(BIN)/python -m cluster needs
	$(BIN)/python tests/cluster/build.py e2e
	$(BIN)/python -m pytest --timeout 180 tests/cluster $(or $(PYTEST_ARGS),--write-page)

# Rolls the gateway out many times while pods come, in such a cluster. `make e2e` does it three times, with 40 pods.
ROLL_OUTS ?= 20
ROLL_OUT_PODS ?= 500
e2e-roll-outs:
	ROLL_OUTS=$(ROLL_OUTS) ROLL_OUT_PODS=$(ROLL_OUT_PODS) $(MAKE) e2e PYTEST_ARGS="--timeout 3600 -k test_no_pod_fails_in_a_roll_out"

# Tests the status page in a browser. Saves pictures of the page to build/page.
test-browser: $(READY)
	command -v chromium || $(call debian,chromium)
	$(BIN)/python -m pytest tests/browser $(PYTEST_ARGS)

# Tests faults and MIG layouts in random order, for hours: in virtual time, then on real sockets. `make test` runs a fixed
# sample of them.
SOAK_SECONDS ?= 3600
SOAK_SEED ?= $(shell date +%s)
SOAK_EXAMPLES ?= 500
soak: $(READY)
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_SEED=$(SOAK_SEED) $(BIN)/python -m pytest -rP tests/core/registration/test_model.py $(PYTEST_ARGS)
	SOAK_EXAMPLES=$(SOAK_EXAMPLES) $(BIN)/python -m pytest tests/adapters/registration/test_any_order.py tests/adapters/gateway/test_any_layout.py $(PYTEST_ARGS)

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python api/generate.py
	$(BIN)/python docs/health_page.py
	$(BIN)/python docs/registration_page.py
	$(BIN)/python docs/packages.py
	$(BIN)/python docs/differences.py
	$(BIN)/python docs/nvidia_page.py
	$(BIN)/python docs/options.py
	$(BIN)/python docs/status_schema.py
	$(BIN)/python deploy/generate.py
	git diff --exit-code --stat -- api docs/health.md docs/registration.md docs/status.schema.json deploy/manifests deploy/helm
	test -z "$$(git ls-files --others --exclude-standard -- api docs deploy)"

generate: $(READY)
	$(BIN)/python api/generate.py
	$(BIN)/python docs/health_page.py
	$(BIN)/python docs/registration_page.py
	$(BIN)/python docs/packages.py
	$(BIN)/python docs/differences.py
	$(BIN)/python docs/nvidia_page.py
	$(BIN)/python docs/options.py
	$(BIN)/python docs/status_schema.py
	$(BIN)/python deploy/generate.py

bench: $(READY)
	PYTHONPATH=tests $(BIN)/python -m bench $(BENCH_ARGS)

# Writes the newest versions that pyproject.toml allows to requirements-dev.txt.
lock:
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable . --group dev
	$(BIN)/python -m pip freeze --all --exclude-editable | grep -v '^setuptools==' > requirements-dev.txt
	touch $(READY)

clean:
	test ! -e build/cluster/node/kernel-settings || $(MAKE) cluster-down
	rm -rf .venv build dist

$(HELM):
	GOBIN=$(CURDIR)/$(@D) GOFLAGS=-mod=mod go install helm.sh/helm/v3/cmd/helm@v3.19.0

$(PROMLINT): tests/deployment/promlint/main.go tests/deployment/promlint/go.mod
	cd $(<D) && go build -mod=readonly -o $(CURDIR)/$@ .

$(READY): pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$($(PYTHON) --version 2>&1 || echo no $(PYTHON)): Python 3.11 or newer is needed; say which: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint requirements-dev.txt --editable . --group dev
	touch $@
