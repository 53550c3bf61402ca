# `make` prints this list. Tools are Go programs, built once at the versions below and kept in the cache folder.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
# The only time in what is released. https://reproducible-builds.org/docs/source-date-epoch/
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
IMAGE ?= mtls-egress-webhook:$(VERSION)
# Where a release is published, as in HOST/OWNER; without it, the image has no registry in its name. SOURCE is the URL of the sources.
REGISTRY ?=
SOURCE ?=
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
BINARY ?= bin/mtls-egress-webhook
COSIGN ?= cosign
CHART := charts/mtls-egress-webhook
CRDS := $(CHART)/files/crds
RBAC := $(CHART)/files/rbac
# How long each fuzz target runs, and how often each benchmark.
FUZZTIME ?= 30s
BENCHCOUNT ?= 6
# How long `make fuzz-mesh` looks for worlds, in seconds, and its seed; FUZZMESH_FIRST is the number of the first world.
FUZZMESH_SECONDS ?= 600
FUZZMESH_SEED ?= $(shell date +%s)
FUZZMESH_FIRST ?= 0
FUZZMESH_WORLDS ?= 1000000
# With KEEP=1 the demos stay up.
KEEP ?=

MTLS_EGRESS_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/mtls-egress-webhook
XDG_CACHE_HOME ?=
GOLANGCI_LINT := $(MTLS_EGRESS_CACHE)/bin/golangci-lint-v2.15.0
CONTROLLER_GEN := $(MTLS_EGRESS_CACHE)/bin/controller-gen-v0.21.0
HELM_DOCS := $(MTLS_EGRESS_CACHE)/bin/helm-docs-v1.14.2
BENCHSTAT := $(MTLS_EGRESS_CACHE)/bin/benchstat-v0.0.0-20260908200009-22c9c6c9d4da
GOVULNCHECK := $(MTLS_EGRESS_CACHE)/bin/govulncheck-v1.9.0
ACTIONLINT := $(MTLS_EGRESS_CACHE)/bin/actionlint-v1.7.12
export MTLS_EGRESS_CACHE
# The modules of their own: the programs that tests run, tests with libraries of their own, and what makes releases.
TOOL_MODULES := $(patsubst %/go.mod,%,$(wildcard release/go.mod test/*/go.mod test/*/*/go.mod))

# Provides the parts of a Kubernetes node where one can be run: on Linux as root, unless a cluster is given.
node := if [ "$$(uname)$$(id -u)" = Linux0 ] && [ -z "$${KUBECONFIG:-}" ]; then MTLS_EGRESS_NODE=$$(go -C test/tools run . node); export MTLS_EGRESS_NODE; fi

# Provides what a command of test/tools makes, in its variable, such as MTLS_EGRESS_ISTIO_CRDS.
# `make test` provides all of it before the tests run, so that none of them builds or downloads
# anything but the webhook.
provided = MTLS_EGRESS_$(1)=$$(go -C test/tools run . $(2)); export MTLS_EGRESS_$(1)
# cert-manager runs beside the API servers that the tests start; promtool and prometheus try the chart's alerts.
assets := $(call provided,ASSETS,assets)
cert_manager := $(call provided,CERTMANAGER,certmanager)
promtool := $(call provided,PROMTOOL,promtool)
crds := $(call provided,ISTIO_CRDS,istio-crds); $(call provided,GATEWAY_CRDS,gateway-crds); $(call provided,PROMETHEUS_CRDS,prometheus-crds)

.PHONY: help
help: ## Print this list.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the static binary bin/mtls-egress-webhook.
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o $(BINARY) \
		-ldflags '-s -w -X mtls.egress/webhook/internal/cli.version=$(VERSION) -X mtls.egress/webhook/internal/cli.commit=$(COMMIT)' ./cmd/webhook

.PHONY: test-unit
test-unit: ## Run the tests that need no server (seconds).
	go test ./api/... ./cmd/... ./internal/...

# The packages that run a cluster of their own.
ON_A_NODE := mtls.egress/webhook/test/(cluster|lifecycle|mesh|meshdemo)

.PHONY: test
test: ## Run all tests; the servers they need are built the first time.
	$(node); $(cert_manager); $(promtool); $(crds); $(assets); test/all/all.sh '$(ON_A_NODE)'

.PHONY: test-mesh
test-mesh: ## Run the tests of the data path on a real mesh (root on Linux, or a cluster in KUBECONFIG).
	$(node); $(cert_manager); go test -count 1 -v -timeout 30m ./test/mesh

.PHONY: test-load
test-load: ## Create 10,000 Pods while replicas and the API server come and go, and print what was counted.
	$(assets); go test -count 1 -v -timeout 20m ./test/load

.PHONY: guarantees
guarantees: ## Run them and write what they counted into docs/guarantees.md.
	mkdir -p bin
	$(node); $(cert_manager); MTLS_EGRESS_EVIDENCE=$(CURDIR)/bin/evidence.json go test -count 1 -timeout 30m ./test/mesh
	go run ./test/mesh/guarantees bin/evidence.json docs/guarantees.md

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run the linters, those for the direction of imports among them.
	$(GOLANGCI_LINT) run ./...

helm_docs = $(HELM_DOCS) --chart-search-root $(CHART) --sort-values-order file --log-level warning

.PHONY: generate
generate: $(CONTROLLER_GEN) $(HELM_DOCS) ## Write deepcopy functions, CRD and RBAC from the markers in the code, the values' schema and table from values.yaml.
	$(CONTROLLER_GEN) object paths=./api/...
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=$(CRDS)
	$(CONTROLLER_GEN) rbac:roleName=mtls-egress-webhook paths=./internal/controller/... output:rbac:dir=$(RBAC)
	go run ./charts/valuesschema $(CHART)/values.yaml $(CHART)/values.schema.json
	$(helm_docs)

.PHONY: lint-workflows
lint-workflows: $(ACTIONLINT) ## Check the workflow files of the forge.
	$(ACTIONLINT) -shellcheck= -pyflakes=

.PHONY: verify
verify: verify-generate verify-modules lint lint-workflows ## Fail when generated files, modules or code are not as they should be.

.PHONY: verify-generate
verify-generate: $(CONTROLLER_GEN) $(HELM_DOCS) ## Fail when `make generate` would change something.
	fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(CONTROLLER_GEN) object paths=./api/... output:object:dir=$$fresh/api && \
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=$$fresh/crds && \
	$(CONTROLLER_GEN) rbac:roleName=mtls-egress-webhook paths=./internal/controller/... output:rbac:dir=$$fresh/rbac && \
	diff -u api/v1alpha1/zz_generated.deepcopy.go $$fresh/api/zz_generated.deepcopy.go && \
	diff -ru $(CRDS) $$fresh/crds && diff -ru $(RBAC) $$fresh/rbac && \
	go run ./charts/valuesschema $(CHART)/values.yaml $$fresh/values.schema.json && diff -u $(CHART)/values.schema.json $$fresh/values.schema.json && \
	$(helm_docs) --dry-run | diff -u $(CHART)/README.md -

.PHONY: verify-modules
verify-modules: ## Fail when `go mod tidy` would change something.
	go mod tidy -diff
	for module in $(TOOL_MODULES); do go -C $$module mod tidy -diff; done

# Says before anything is built how long that takes, unless the servers are there.
.PHONY: first-build
first-build:
	@ls -d '$(MTLS_EGRESS_CACHE)'/*/assets-* >/dev/null 2>&1 || \
	echo 'The first run builds what it needs: about 10 minutes on 2 cores, less where the API server can be downloaded. Later runs start at once.'

.PHONY: demo
demo: first-build ## Show on a real API server what one annotation does; KEEP=1 leaves it up until Ctrl-C.
	$(assets); KEEP='$(KEEP)' go run ./test/demo

.PHONY: demo-mesh
demo-mesh: ## Show on a real mesh what the partner sees; KEEP=1 opens a shell at the end. Like test-mesh it needs root.
	$(node); KEEP='$(KEEP)' go run ./test/meshdemo

.PHONY: bench
bench: $(BENCHSTAT) ## Measure; bin/bench.txt holds the raw figures, for benchstat OLD bin/bench.txt.
	mkdir -p bin
	go test -run '^$$' -bench . -benchmem -count $(BENCHCOUNT) ./internal/... | tee bin/bench.txt
	$(assets); \
	go test -run '^$$' -bench . -benchtime 1x -timeout 60m ./test/perf | tee -a bin/bench.txt
	$(BENCHSTAT) bin/bench.txt

.PHONY: bench-mesh
bench-mesh: $(BENCHSTAT) ## Measure calls through the sidecar; bin/bench-mesh.txt holds the raw figures. Needs what test-mesh needs.
	mkdir -p bin
	$(node); go test -run '^$$' -bench . -benchtime 1x -timeout 60m ./test/perf/mesh | tee bin/bench-mesh.txt
	$(BENCHSTAT) bin/bench-mesh.txt

.PHONY: figures
figures: ## Write the figures of the last `make bench` and `make bench-mesh` into docs/performance.md.
	for section in bench mesh; do \
		results=bin/bench.txt; [ $$section = bench ] || results=bin/bench-mesh.txt; \
		if [ -e $$results ]; then go run ./test/perf/figures $$section $$results docs/performance.md; fi; \
	done

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (30s).
	grep -rl --include='*_test.go' '^func Fuzz' internal | xargs -n1 dirname | sort -u | while read -r package; do \
		for target in $$(grep -rhoE '^func Fuzz[A-Za-z]+' "$$package" | cut -d' ' -f2); do \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "./$$package"; \
		done; \
	done

.PHONY: fuzz-mesh
fuzz-mesh: ## Try the generated objects in random worlds of Istio objects for FUZZMESH_SECONDS (600).
	MTLS_EGRESS_FUZZ_SEED=$(FUZZMESH_SEED) MTLS_EGRESS_FUZZ_FIRST=$(FUZZMESH_FIRST) MTLS_EGRESS_FUZZ_WORLDS=$(FUZZMESH_WORLDS) MTLS_EGRESS_FUZZ_SECONDS=$(FUZZMESH_SECONDS) \
	go -C test/fuzzmesh test -count 1 -v -timeout 0 -run '^TestWorlds$$' . | { grep -vE '^ *(=== |--- (PASS|FAIL): TestWorlds/)' || true; }

# govulncheck reads the database at https://vuln.go.dev, and fails where it can't: no answer is no good news.
.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## Fail when the program calls code with a known vulnerability. Needs the internet.
	$(GOVULNCHECK) ./cmd/... && $(GOVULNCHECK) -C release .

.PHONY: licences
licences: ## List the licences of what the program is made of; fail when one is unknown or not allowed.
	go -C release run . licences -systems linux,darwin,windows

.PHONY: image
image: build ## Pack the binary as an OCI image, bin/image.tar, without Docker.
	go -C release run . licences -output bin/THIRD_PARTY_LICENSES
	go -C release run ./pack -binary $(CURDIR)/bin/mtls-egress-webhook -licence $(CURDIR)/LICENSE -licence $(CURDIR)/bin/THIRD_PARTY_LICENSES \
		-tag $(IMAGE) -output $(CURDIR)/bin/image.tar

.PHONY: release
release: ## Make all that is published of this commit in dist/: binaries, image, chart, bill of materials, licences, checksums.
	for platform in $(PLATFORMS); do \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} $(MAKE) --no-print-directory build BINARY=bin/release/$$platform/mtls-egress-webhook; \
	done
	assets=$$(go -C test/tools run . assets) && go -C release run . assemble -output dist -helm "$$assets/helm" \
		-version '$(VERSION)' -commit '$(COMMIT)' -created '$(SOURCE_DATE_EPOCH)' -image '$(if $(REGISTRY),$(REGISTRY)/)mtls-egress-webhook' -source '$(SOURCE)' \
		$(foreach platform,$(PLATFORMS),-binary $(platform)=bin/release/$(platform)/mtls-egress-webhook)

# The clones differ in their folder and in the cache of the go command, so that nothing is taken from the first build.
.PHONY: verify-reproducible
verify-reproducible: ## Make the release of HEAD twice, in two folders, and fail when a byte differs. Takes two full builds.
	folder=$$(mktemp -d) && trap 'chmod -R u+w "$$folder"; rm -rf "$$folder"' EXIT && \
	for clone in one elsewhere/two; do \
		git clone --quiet . "$$folder/$$clone" && GOCACHE=$$folder/$${clone##*/}.cache $(MAKE) --no-print-directory -C "$$folder/$$clone" release; \
	done && diff -r "$$folder/one/dist" "$$folder/elsewhere/two/dist" && echo 'both builds are the same, to the byte'

.PHONY: registry-login
registry-login: ## Log in to REGISTRY as REGISTRY_USER with REGISTRY_PASSWORD, both from the environment.
	assets=$$(go -C test/tools run . assets) && printf '%s' "$$REGISTRY_PASSWORD" | HELM_REGISTRY_CONFIG=$${DOCKER_CONFIG:-$$HOME/.docker}/config.json \
	"$$assets/helm" registry login '$(firstword $(subst /, ,$(REGISTRY)))' --username "$$REGISTRY_USER" --password-stdin

.PHONY: publish
publish: ## Push image and chart of dist/ to REGISTRY; bin/release/subjects then names all that a provenance is about.
	assets=$$(go -C test/tools run . assets) && go -C release run . publish -dist dist -registry '$(REGISTRY)' -helm "$$assets/helm"
	mkdir -p bin/release
	{ cat dist/SHA256SUMS; sed 's#^sha256:\(.*\)#\1  $(REGISTRY)/mtls-egress-webhook#' dist/image.digest; } > bin/release/subjects

# Without a key: the signature says which workflow of the forge made it. https://docs.sigstore.dev/cosign/signing/overview/
.PHONY: sign
sign: ## Sign the checksums and the published image, and attach the bill of materials to it (cosign).
	$(COSIGN) sign-blob --yes --bundle dist/SHA256SUMS.sigstore.json dist/SHA256SUMS
	$(COSIGN) sign --yes '$(REGISTRY)/mtls-egress-webhook@'$$(cat dist/image.digest)
	$(COSIGN) attest --yes --type spdxjson --predicate dist/mtls-egress-webhook_$(VERSION).spdx.json '$(REGISTRY)/mtls-egress-webhook@'$$(cat dist/image.digest)

.PHONY: publish-files
publish-files: ## Create the release of the tag VERSION on the forge with the files of dist/ (gh).
	gh release create '$(VERSION)' dist/* --verify-tag --generate-notes

# A tool is installed under a name that carries its version, so that another version is another file.
define install
	mkdir -p $(@D)
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && GOFLAGS= GOBIN=$$folder go install $(1) && mv $$folder/* $@
endef

$(GOLANGCI_LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0)

$(CONTROLLER_GEN):
	$(call install,sigs.k8s.io/controller-tools/cmd/controller-gen@v0.21.0)

$(HELM_DOCS):
	$(call install,github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2)

$(BENCHSTAT):
	$(call install,golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da)

$(GOVULNCHECK):
	$(call install,golang.org/x/vuln/cmd/govulncheck@v1.9.0)

$(ACTIONLINT):
	$(call install,github.com/rhysd/actionlint/cmd/actionlint@v1.7.12)
