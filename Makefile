# The commands of this project. `make help` lists them.
#
# Linux, Go, make and a C compiler are all that is needed: Kubernetes, etcd and
# the Cluster API controllers are built from Go modules once and cached.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help

# Where suites leave their reports.
OUT ?= out
# How long make soak goes on, and the plan of what goes wrong meanwhile, such as
# soak/faults/plan.yaml; nothing when empty.
DURATION ?= 24h
FAULTS ?=
# Parts of make bench, such as requests,stages; all when empty.
ONLY ?=
# Versions of Kubernetes of make node-image; empty for all that e2e/binaries pins.
VERSIONS ?=
# Directories of the runs of make signoff; empty for all below OUT.
RUNS ?=
# Regular expression of the names of the tests of make conformance; empty for all.
FOCUS ?=
# More flags for a suite; see `go run ./e2e/poc -h`.
ARGS ?=

GENERATE := go tool -modfile=tools/generate/go.mod
LINT     := go tool -modfile=tools/lint/go.mod

##@ The two commands

.PHONY: poc
poc: programs ## Make a cluster, scale it, delete it, and report (the main job).
	go run ./e2e/poc --out $(OUT)/poc $(ARGS)

.PHONY: test
test: programs ## Run all tests under the race detector; with E2E_PLANE=kind also that of a world on kind.
	go test -race -timeout 30m ./...

.PHONY: programs
programs: # What tests and suites start as processes; minutes once, then nothing.
	@go run ./e2e/binaries/program >/dev/null
	@CGO_ENABLED=0 go build -buildvcs=false ./fakeatomos/cmd/... ./daemon/cmd/... ./provider/cmd/...

##@ Try it

.PHONY: up
up: programs ## Keep a playground running; Ctrl-C takes it down.
	go run ./e2e/playground --out $(OUT) $(ARGS)

.PHONY: watch
watch: programs ## Keep a playground running that Prometheus watches; Ctrl-C takes it down.
	go run ./e2e/playground --out $(OUT) --prometheus $(ARGS)

##@ Suites

.PHONY: upstream
upstream: programs ## Run the upstream Cluster API e2e specs; E2E_PLANE=kind E2E_GUEST=container on real nodes.
	go run ./e2e/upstream --out $(OUT)/upstream $(ARGS)

.PHONY: bench
bench: programs ## Measure latency, throughput, growth and cost at rest; ONLY= for some of the parts.
	go run ./bench --out $(OUT)/bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

.PHONY: bench-peer
bench-peer: programs ## Measure ours beside Cluster API's own provider in memory, in turns.
	go run ./bench/peer --out $(OUT)/bench-peer $(ARGS)

.PHONY: bench-code
bench-code: ## Run the benchmarks of the hot paths ten times, into OUT/bench-code.txt for benchstat.
	@mkdir -p $(OUT)
	go test -run '^$$' -bench . -benchmem -count 10 ./c4 ./daemon ./fakeatomos ./provider/fleet | tee $(OUT)/bench-code.txt

.PHONY: scenarios
scenarios: programs ## Make things go wrong, one at a time, and demand that all comes right.
	go run ./e2e/scenarios --out $(OUT)/scenarios $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: scenario
scenario: programs ## Repeat one scenario: NAME=… SEED=…; --list in ARGS lists them.
	go run ./e2e/scenarios --out $(OUT)/scenario $(if $(NAME),--name $(NAME)) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: iterations
iterations: programs ## Live the life of a VM 100 times, without and with faults.
	go run ./soak/iterations --out $(OUT)/iterations $(ARGS)

.PHONY: cycles
cycles: programs ## Make and delete 50 whole clusters, and look for what leaks.
	go run ./soak/cycles --out $(OUT)/cycles $(ARGS)

.PHONY: soak
soak: programs ## Run a workload for DURATION, with FAULTS or without; it goes on where it was killed.
	go run ./soak/stability --out $(OUT)/soak$(if $(FAULTS),-faults) --duration $(DURATION) $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: watch-check
watch-check: ## Check what is shipped for Prometheus and Grafana, and test each alert, without a world.
	@promtool="$$(go run ./e2e/binaries/program promtool)" && \
	go run ./e2e/watch/queries provider/config/prometheus/dashboards | "$$promtool" check rules --lint=all --lint-fatal && \
	cd provider/config/prometheus && \
	"$$promtool" check config --syntax-only prometheus.yaml && \
	"$$promtool" check rules --lint=all --lint-fatal *.rules.yaml && \
	"$$promtool" test rules tests/*.test.yaml tests/recorded/*.test.yaml
	go test -count=1 ./e2e/watch/... ./e2e/metricspage/...

.PHONY: watch-test
watch-test: watch-check programs ## Have Prometheus watch: alerts come up where they must, each query of a dashboard gives something.
	go run ./e2e/watch/live --out $(OUT)/watch-test $(ARGS)
	go run ./soak/stability --out $(OUT)/watch-soak --duration 4m --lanes 1 --faults soak/faults/plan.yaml --prometheus

.PHONY: watch-record
watch-record: programs ## Record anew the series on which alerts are tested.
	go run ./e2e/watch/live --out $(OUT)/watch-record --record provider/config/prometheus/tests/recorded --long $(ARGS)

.PHONY: dashboards
dashboards: programs ## Draw docs/dashboards anew, of ten minutes of a soak with faults.
	go run ./soak/stability --out $(OUT)/dashboards --duration 10m --faults soak/faults/plan.yaml --prometheus $(ARGS)
	cp $(OUT)/dashboards/dashboards/*.svg docs/dashboards/

.PHONY: validate
validate: ## Judge the history that a run has left; RUN=its directory.
	go run ./soak/validate/cmd/validate $(ARGS) $(RUN)

.PHONY: mutants
mutants: programs ## Show that the validators find what they are for: mutants of our programs.
	go run ./soak/mutants -out $(OUT)/mutants $(ARGS)

.PHONY: contract
contract: ## Run the C4 contract suite; TARGET=https://… for a host, none for the fake.
	go test -race -count=1 -v -run '^TestContract$$' ./c4/c4test -args $(if $(TARGET),-target $(TARGET)) $(if $(CLIENT_UID),-client-uid $(CLIENT_UID)) $(if $(FINGERPRINT),-fingerprint $(FINGERPRINT)) $(CONTRACT_FLAGS)

.PHONY: signoff
signoff: ## Merge RUNS (default: all below OUT) into the report to sign, in OUT/signoff.
	go run ./reports/signoff --out $(OUT)/signoff --from $(OUT) $(ARGS) $(RUNS)

##@ Real nodes

.PHONY: docker
docker: ## See that a Docker Engine answers: install Debian's where there is none, start it.
	@go run ./e2e/docker/engine up

.PHONY: docker-down
docker-down: ## End the Docker Engine that make docker started, and no other.
	@go run ./e2e/docker/engine down

.PHONY: node-image
node-image: docker ## Make the images of nodes that are containers; VERSIONS= of those that are pinned.
	go run ./e2e/node/build $(VERSIONS)

.PHONY: e2e
e2e: docker programs ## Make, scale and delete a cluster of real nodes, on kind; make node-image first.
	go run ./e2e/nodes --out $(OUT)/e2e $(ARGS)

.PHONY: upgrades
upgrades: docker programs ## Upgrade Kubernetes of a cluster of real nodes, and take it back, on kind.
	go run ./e2e/nodes --upgrade --out $(OUT)/upgrades $(ARGS)

.PHONY: rollouts
rollouts: docker programs ## Replace our manager and the daemons under load, on kind; what Clastix reaches.
	go run ./e2e/rollouts --out $(OUT)/rollouts $(ARGS)

.PHONY: conformance
conformance: docker programs ## Run Kubernetes' conformance tests on a cluster of real nodes, by sonobuoy; FOCUS= for some of them.
	go run ./e2e/conformance --out $(OUT)/conformance$(if $(FOCUS),-focus --focus '$(FOCUS)') $(ARGS)

##@ Development

.PHONY: generate
generate: ## Generate gRPC code, deep copies, CRDs, RBAC and the operator's rules.
	go run ./e2e/watch/operator provider/config/prometheus
	$(GENERATE) buf generate
	$(GENERATE) controller-gen object paths=./provider/api/...
	$(GENERATE) controller-gen crd paths=./provider/api/... output:crd:dir=provider/config/crd/bases
	$(GENERATE) controller-gen rbac:roleName=manager webhook paths=./provider/... output:rbac:dir=provider/config/rbac output:webhook:dir=provider/config/webhook

.PHONY: verify
verify: generate ## Fail where generated code or go.mod is out of date, or the protocol breaks.
	go mod tidy
	@changed="$$(git status --porcelain -- daemon/rpc provider/api provider/config go.mod go.sum)" || exit 1; \
	if [ -n "$$changed" ]; then echo "commit what make generate and go mod tidy have changed:"; echo "$$changed"; exit 1; fi
	$(GENERATE) buf lint
	$(GENERATE) buf breaking --against daemon/rpc/released.binpb

.PHONY: lint
lint: ## Run the linters.
	$(LINT) golangci-lint run ./...

# daemon/rpc/released.binpb is the protocol of the last release: daemons and
# managers of neighboring versions talk to each other while one of them is rolled.
.PHONY: freeze
freeze: ## Take the protocol as it is for the one that must not break.
	$(GENERATE) buf build -o daemon/rpc/released.binpb

.PHONY: release
release: ## Lay out a local clusterctl repository in OUT/repository.
	go run ./e2e/release $(OUT)/repository

.PHONY: image
image: ## Make the container image of the manager, OUT/manager.tar; ARCH= for another processor.
	go run ./e2e/image/manager $(if $(ARCH),--architecture $(ARCH)) $(OUT)/manager.tar

.PHONY: help
help: ## Show this.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
