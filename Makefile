# `make` prints this list. Tools are Go programs, built once at the versions below and kept in the cache folder.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
IMAGE ?= mtls-egress-webhook:$(VERSION)
CHART := charts/mtls-egress-webhook
CRDS := $(CHART)/files/crds
RBAC := $(CHART)/files/rbac
# How long each fuzz target runs, and how often each benchmark.
FUZZTIME ?= 30s
BENCHCOUNT ?= 6
# The demo stays up until Ctrl-C with KEEP=1.
KEEP ?=

MTLS_EGRESS_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/mtls-egress-webhook
XDG_CACHE_HOME ?=
GOLANGCI_LINT := $(MTLS_EGRESS_CACHE)/bin/golangci-lint-v2.15.0
CONTROLLER_GEN := $(MTLS_EGRESS_CACHE)/bin/controller-gen-v0.21.0
BENCHSTAT := $(MTLS_EGRESS_CACHE)/bin/benchstat-v0.0.0-20260908200009-22c9c6c9d4da
export MTLS_EGRESS_CACHE

.PHONY: help
help: ## Print this list.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the static binary bin/mtls-egress-webhook.
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X mtls.egress/webhook/internal/cli.version=$(VERSION)' -o bin/mtls-egress-webhook ./cmd/webhook

.PHONY: test-unit
test-unit: ## Run the tests that need no server (seconds).
	go test ./api/... ./cmd/... ./internal/...

.PHONY: test
test: ## Run all tests; the servers they need are built the first time (about four minutes).
	assets=$$(go -C test/tools run . assets) && export MTLS_EGRESS_ASSETS="$$assets" && go test -timeout 20m ./...
	go -C test/tools test ./...
	go -C test/tools/image test ./...

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run the linters, those for the direction of imports among them.
	$(GOLANGCI_LINT) run ./...

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Write deepcopy functions, CRD and RBAC from the markers in the code.
	$(CONTROLLER_GEN) object paths=./api/...
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=$(CRDS)
	$(CONTROLLER_GEN) rbac:roleName=mtls-egress-webhook paths=./internal/controller/... output:rbac:dir=$(RBAC)

.PHONY: verify
verify: verify-generate verify-modules lint ## Fail when generated files, modules or code are not as they should be.

.PHONY: verify-generate
verify-generate: $(CONTROLLER_GEN) ## Fail when `make generate` would change something.
	fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(CONTROLLER_GEN) object paths=./api/... output:object:dir=$$fresh/api && \
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=$$fresh/crds && \
	$(CONTROLLER_GEN) rbac:roleName=mtls-egress-webhook paths=./internal/controller/... output:rbac:dir=$$fresh/rbac && \
	diff -u api/v1alpha1/zz_generated.deepcopy.go $$fresh/api/zz_generated.deepcopy.go && \
	diff -ru $(CRDS) $$fresh/crds && diff -ru $(RBAC) $$fresh/rbac

.PHONY: verify-modules
verify-modules: ## Fail when `go mod tidy` would change something.
	go mod tidy -diff
	go -C test/tools mod tidy -diff
	go -C test/tools/image mod tidy -diff

.PHONY: demo
demo: ## Show on a real API server what one annotation does; KEEP=1 leaves it up until Ctrl-C.
	assets=$$(go -C test/tools run . assets) && export MTLS_EGRESS_ASSETS="$$assets" && KEEP='$(KEEP)' go run ./test/demo

.PHONY: bench
bench: $(BENCHSTAT) ## Measure; bin/bench.txt holds the raw figures, for benchstat OLD bin/bench.txt.
	mkdir -p bin
	go test -run '^$$' -bench . -benchmem -count $(BENCHCOUNT) ./internal/... | tee bin/bench.txt
	assets=$$(go -C test/tools run . assets) && export MTLS_EGRESS_ASSETS="$$assets" && \
	go test -run '^$$' -bench . -benchtime 1x -timeout 60m ./test/perf | tee -a bin/bench.txt
	$(BENCHSTAT) bin/bench.txt

.PHONY: figures
figures: ## Write the figures of the last `make bench` into docs/performance.md.
	go run ./test/perf/figures bin/bench.txt docs/performance.md

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (30s).
	grep -rl --include='*_test.go' '^func Fuzz' internal | xargs -n1 dirname | sort -u | while read -r package; do \
		for target in $$(grep -rhoE '^func Fuzz[A-Za-z]+' "$$package" | cut -d' ' -f2); do \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "./$$package"; \
		done; \
	done

.PHONY: image
image: build ## Pack the binary as an OCI image, bin/image.tar, without Docker.
	go -C test/tools/image run . -binary $(CURDIR)/bin/mtls-egress-webhook -tag $(IMAGE) -output $(CURDIR)/bin/image.tar

# A tool is installed under a name that carries its version, so that another version is another file.
define install
	mkdir -p $(@D)
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && GOFLAGS= GOBIN=$$folder go install $(1) && mv $$folder/* $@
endef

$(GOLANGCI_LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0)

$(CONTROLLER_GEN):
	$(call install,sigs.k8s.io/controller-tools/cmd/controller-gen@v0.21.0)

$(BENCHSTAT):
	$(call install,golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da)
