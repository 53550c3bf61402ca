# `make` lists the targets. Tools are Go programs, which are built once at the versions below and stored in the cache
# folder.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
# The only timestamp in a release. https://reproducible-builds.org/docs/source-date-epoch/
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
IMAGE ?= mtls-egress-webhook:$(VERSION)
# The registry for releases, as HOST/OWNER. If it is empty, the name of the image contains no registry. SOURCE is the
# URL of the sources.
REGISTRY ?=
SOURCE ?=
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
BINARY ?= bin/mtls-egress-webhook
COSIGN ?= cosign
# Where the release is, and the list of its files for the provenance.
DIST ?= dist
SUBJECTS ?= bin/release/subjects
CHART := charts/mtls-egress-webhook
CRDS := $(CHART)/files/crds
RBAC := $(CHART)/files/rbac
RULE_EXAMPLES := internal/check/testdata/rules
# How long each fuzz target runs, and how often each benchmark runs.
FUZZTIME ?= 30s
BENCHCOUNT ?= 6
# How long `make fuzz-mesh` generates worlds, in seconds, and its seed. FUZZMESH_FIRST is the number of the first world.
FUZZMESH_SECONDS ?= 600
FUZZMESH_SEED ?= $(shell date +%s)
FUZZMESH_FIRST ?= 0
FUZZMESH_WORLDS ?= 1000000
# With KEEP=1, the demos keep running.
KEEP ?=
# What test-matrix runs on, as in ON='kubernetes-1.31 kubernetes-1.32'. Empty: everything.
ON ?=

MTLS_EGRESS_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/mtls-egress-webhook
XDG_CACHE_HOME ?=
GOLANGCI_LINT := $(MTLS_EGRESS_CACHE)/bin/golangci-lint-v2.15.0
CONTROLLER_GEN := $(MTLS_EGRESS_CACHE)/bin/controller-gen-v0.21.0
HELM := $(MTLS_EGRESS_CACHE)/bin/helm-v4.3.2
HELM_DOCS := $(MTLS_EGRESS_CACHE)/bin/helm-docs-v1.14.2
BENCHSTAT := $(MTLS_EGRESS_CACHE)/bin/benchstat-v0.0.0-20260908200009-22c9c6c9d4da
GOVULNCHECK := $(MTLS_EGRESS_CACHE)/bin/govulncheck-v1.9.0
ACTIONLINT := $(MTLS_EGRESS_CACHE)/bin/actionlint-v1.7.12
VALE := $(MTLS_EGRESS_CACHE)/bin/vale-v3.21.0
export MTLS_EGRESS_CACHE
# Separate modules: programs that tests run, tests with their own libraries, and the release tool.
TOOL_MODULES := $(patsubst %/go.mod,%,$(wildcard release/go.mod test/*/go.mod test/*/*/go.mod))

# Provides the parts of a Kubernetes node if one can run: on Linux as root, unless KUBECONFIG is set.
node := if [ "$$(uname)$$(id -u)" = Linux0 ] && [ -z "$${KUBECONFIG:-}" ]; then MTLS_EGRESS_NODE=$$(go -C test/tools run . node); export MTLS_EGRESS_NODE; fi

# Provides the output of a command of test/tools in its variable, such as MTLS_EGRESS_ISTIO_CRDS.
# `make test` provides all of them before the tests run, so that tests build or download nothing
# except the webhook.
provided = MTLS_EGRESS_$(1)=$$(go -C test/tools run . $(2)); export MTLS_EGRESS_$(1)
# cert-manager runs next to the API servers that the tests start. promtool and prometheus test the chart's alerts.
assets := $(call provided,ASSETS,assets)
# One assignment each: the shell doesn't stop at a failure of any but the last of an assignment.
other_assets := oldest=$$(go -C test/tools run . assets 1.31); newest=$$(go -C test/tools run . assets 1.37); export MTLS_EGRESS_OTHER_ASSETS=$$oldest:$$newest
cert_manager := $(call provided,CERTMANAGER,certmanager)
promtool := $(call provided,PROMTOOL,promtool)
pyyaml := $(call provided,PYYAML,pyyaml)
# Kyverno, which only `make bench` needs.
kyverno := $(call provided,KYVERNO,kyverno)
# The controllers of Argo Rollouts and JobSet, which only `make test-workloads` needs.
workloads := $(call provided,WORKLOADS,workloads)
crds := $(call provided,ISTIO_CRDS,istio-crds); $(call provided,GATEWAY_CRDS,gateway-crds); $(call provided,PROMETHEUS_CRDS,prometheus-crds); $(call provided,WORKLOAD_CRDS,workload-crds)

.PHONY: help
help: ## Print this list.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the static binary bin/mtls-egress-webhook.
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o $(BINARY) \
		-ldflags '-s -w -X mtls.egress/webhook/internal/cli.version=$(VERSION) -X mtls.egress/webhook/internal/cli.commit=$(COMMIT)' ./cmd/webhook

.PHONY: test-unit
test-unit: ## Run the tests that need no server (seconds).
	go test ./api/... ./cmd/... ./internal/...

# The packages that run their own cluster, and those that run again on one with IPv6 addresses only.
ON_A_NODE := mtls.egress/webhook/test/(cluster|lifecycle|mesh|meshdemo)
OVER_IPV6 := mtls.egress/webhook/test/mesh
# Those that run on the oldest and the newest API server, instead of on the one of the other tests.
ON_OTHERS := mtls.egress/webhook/test/admission

# Provides the Helm of the release, and prints its path.
.PHONY: helm
helm: $(HELM)
	@echo $(HELM)

.PHONY: test
test: $(HELM) ## Run all tests. The first run builds the servers that they need.
	$(node); $(cert_manager); $(promtool); $(pyyaml); $(crds); $(assets); $(other_assets); test/all/all.sh '$(ON_A_NODE)' '$(OVER_IPV6)' '$(ON_OTHERS)'

.PHONY: test-mesh
test-mesh: ## Run the tests of the data path on a real mesh (root on Linux, or a cluster in KUBECONFIG).
	$(node); $(cert_manager); go test -count 1 -v -timeout 30m ./test/mesh

.PHONY: test-mesh-ipv6
test-mesh-ipv6: ## Run test-mesh where Pods have IPv6 addresses only (root on Linux).
	$(node); $(cert_manager); MTLS_EGRESS_NODE_FAMILY=ipv6 go test -count 1 -v -timeout 30m ./test/mesh

.PHONY: test-load
test-load: ## Create 10,000 Pods while replicas and the API server restart, and print the counts.
	$(assets); go test -count 1 -v -timeout 20m ./test/load

.PHONY: test-workloads
test-workloads: ## Run the tests of workloads with the real controllers of Argo Rollouts and JobSet. The first run builds them.
	$(workloads); $(assets); go test -count 1 -v -timeout 20m ./test/workloads

# The names are those that `go run ./test/matrix list` prints.
.PHONY: test-matrix
test-matrix: $(HELM) ## Run the tests on other versions and settings of Kubernetes and Istio, or on those in ON, and write docs/reference/compatibility.md (hours).
	go run ./test/matrix run $(ON)

# The previous release that test-upgrade starts from, a folder that `make release` filled.
PREVIOUS ?=
.PHONY: test-upgrade
test-upgrade: ## Upgrade from the release in the folder PREVIOUS and roll back, while Pods call. Same requirements as test-mesh.
	@test -n '$(PREVIOUS)' || { echo 'test-upgrade: set PREVIOUS to the folder of the previous release' >&2; exit 2; }
	$(node); MTLS_EGRESS_PREVIOUS='$(abspath $(PREVIOUS))' go test -count 1 -v -timeout 30m ./test/lifecycle

.PHONY: guarantees
guarantees: ## Run test-mesh and test-mesh-ipv6, and write their counts into docs/project/guarantees.md.
	mkdir -p bin
	$(node); $(cert_manager); MTLS_EGRESS_EVIDENCE=$(CURDIR)/bin/evidence.json go test -count 1 -timeout 30m ./test/mesh
	$(node); $(cert_manager); MTLS_EGRESS_NODE_FAMILY=ipv6 MTLS_EGRESS_EVIDENCE=$(CURDIR)/bin/evidence-ipv6.json go test -count 1 -timeout 30m ./test/mesh
	go run ./test/mesh/guarantees bin/evidence.json bin/evidence-ipv6.json docs/project/guarantees.md

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run the linters, including the import rules.
	$(GOLANGCI_LINT) run ./...

helm_docs = $(HELM_DOCS) --chart-search-root $(CHART) --sort-values-order file --log-level warning

.PHONY: generate
generate: $(CONTROLLER_GEN) $(HELM_DOCS) ## Generate deepcopy functions, the CRD and RBAC from code markers, the schema and README of the chart from its values, the pages of rules, and the steps of explain in docs/reference/explain.md.
	$(CONTROLLER_GEN) object paths=./api/...
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=$(CRDS)
	$(CONTROLLER_GEN) rbac:roleName=mtls-egress-webhook paths=./internal/controller/... output:rbac:dir=$(RBAC)
	go run ./charts/valuesschema $(CHART) $(CHART)/values.schema.json
	go run ./internal/check/rulepages $(RULE_EXAMPLES) docs/reference/rules
	go run ./internal/explain/decisiontree docs/reference/explain.md
	$(helm_docs)

.PHONY: lint-workflows
lint-workflows: $(ACTIONLINT) ## Check the GitHub workflows.
	$(ACTIONLINT) -shellcheck= -pyflakes=

# The rules are in .vale.ini and .vale. --no-global ignores the user's own configuration.
PROSE := README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md docs examples api charts cmd internal release test

.PHONY: lint-prose
lint-prose: $(VALE) ## Check the words and the width of comments and documents.
	$(VALE) --no-global --output=line $(PROSE)

# The site needs no network to be read. The packages that build it are pinned with hashes; pip finds a package index as it
# is configured to.
MKDOCS := $(MTLS_EGRESS_CACHE)/bin/mkdocs-$(shell cksum <site/requirements.txt | cut -d' ' -f1)
SITE ?= bin/site

# Not with --quiet, with which no warning counts for --strict.
.PHONY: docs
docs: $(MKDOCS)/bin/mkdocs ## Build the site of the documents in bin/site. Fails if a link or a heading is missing.
	NO_MKDOCS_2_WARNING=1 $(MKDOCS)/bin/mkdocs build --strict --config-file site/mkdocs.yml --site-dir '$(abspath $(SITE))'
	@echo 'open $(SITE)/index.html'

.PHONY: verify-docs
verify-docs: ## Fail if the site of the documents can't be built.
	fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(MAKE) --no-print-directory docs SITE="$$fresh/site" >/dev/null

.PHONY: verify
verify: verify-docs verify-generate verify-modules lint lint-workflows lint-prose ## Fail if generated files or modules are out of date, or if linters find problems.

.PHONY: verify-generate
verify-generate: $(CONTROLLER_GEN) $(HELM_DOCS) ## Fail if `make generate` would change anything.
	fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(CONTROLLER_GEN) object paths=./api/... output:object:dir=$$fresh/api && \
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=$$fresh/crds && \
	$(CONTROLLER_GEN) rbac:roleName=mtls-egress-webhook paths=./internal/controller/... output:rbac:dir=$$fresh/rbac && \
	diff -u api/v1alpha1/zz_generated.deepcopy.go $$fresh/api/zz_generated.deepcopy.go && \
	diff -ru $(CRDS) $$fresh/crds && diff -ru $(RBAC) $$fresh/rbac && \
	go run ./charts/valuesschema $(CHART) $$fresh/values.schema.json && diff -u $(CHART)/values.schema.json $$fresh/values.schema.json && \
	go run ./internal/check/rulepages $(RULE_EXAMPLES) $$fresh/rules && diff -ru docs/reference/rules $$fresh/rules && \
	go run ./internal/explain/decisiontree docs/reference/explain.md $$fresh/explain.md && diff -u docs/reference/explain.md $$fresh/explain.md && \
	$(helm_docs) --dry-run | diff -u $(CHART)/README.md -

.PHONY: verify-modules
verify-modules: ## Fail if `go mod tidy` would change anything.
	go mod tidy -diff
	for module in $(TOOL_MODULES); do go -C $$module mod tidy -diff; done

# Prints how long the first build takes, unless the servers are already built.
.PHONY: first-build
first-build:
	@ls -d '$(MTLS_EGRESS_CACHE)'/*/assets-* >/dev/null 2>&1 || \
	echo 'The first run builds its tools: about 10 minutes on 2 cores, less if the API server can be downloaded. Later runs start immediately.'

.PHONY: demo
demo: first-build ## Show the effect of one annotation on a real API server. KEEP=1 keeps it running until Ctrl-C.
	$(assets); KEEP='$(KEEP)' go run ./test/demo

.PHONY: demo-mesh
demo-mesh: ## Show what the partner receives on a real mesh. KEEP=1 opens a shell at the end. Same requirements as test-mesh.
	$(node); KEEP='$(KEEP)' go run ./test/meshdemo

.PHONY: bench
bench: $(BENCHSTAT) ## Run the benchmarks. The raw results are in bin/bench.txt, for benchstat OLD bin/bench.txt.
	mkdir -p bin
	go test -run '^$$' -bench . -benchmem -count $(BENCHCOUNT) ./internal/... | tee bin/bench.txt
	$(assets); $(kyverno); \
	go test -run '^$$' -bench . -benchtime 1x -timeout 60m ./test/perf | tee -a bin/bench.txt; \
	MTLS_EGRESS_SCALE=10 go test -run '^$$' -bench Scale -benchtime 1x -timeout 60m ./test/perf | tee -a bin/bench.txt
	$(BENCHSTAT) bin/bench.txt

.PHONY: bench-mesh
bench-mesh: $(BENCHSTAT) ## Run the benchmarks of calls through the sidecar. The raw results are in bin/bench-mesh.txt. Same requirements as test-mesh.
	mkdir -p bin
	$(node); go test -run '^$$' -bench . -benchtime 1x -timeout 60m ./test/perf/mesh | tee bin/bench-mesh.txt
	$(BENCHSTAT) bin/bench-mesh.txt

.PHONY: figures
figures: ## Write the results of the last `make bench` and `make bench-mesh` into docs/project/performance.md.
	for section in bench mesh targets; do \
		results=bin/bench.txt; [ $$section = bench ] || results=bin/bench-mesh.txt; \
		if [ -e $$results ]; then go run ./test/perf/figures $$section $$results docs/project/performance.md; fi; \
	done

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (30s).
	grep -rl --include='*_test.go' '^func Fuzz' internal | xargs -n1 dirname | sort -u | while read -r package; do \
		for target in $$(grep -rhoE '^func Fuzz[A-Za-z]+' "$$package" | cut -d' ' -f2); do \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "./$$package"; \
		done; \
	done

.PHONY: fuzz-mesh
fuzz-mesh: ## Test the generated objects in random worlds of Istio objects for FUZZMESH_SECONDS (600).
	MTLS_EGRESS_FUZZ_SEED=$(FUZZMESH_SEED) MTLS_EGRESS_FUZZ_FIRST=$(FUZZMESH_FIRST) MTLS_EGRESS_FUZZ_WORLDS=$(FUZZMESH_WORLDS) MTLS_EGRESS_FUZZ_SECONDS=$(FUZZMESH_SECONDS) \
	go -C test/fuzzmesh test -count 1 -v -timeout 0 -run '^TestWorlds$$' . | { grep -vE '^ *(=== |--- (PASS|FAIL): TestWorlds/)' || true; }

# govulncheck reads the database at https://vuln.go.dev, and fails if the database is unreachable.
.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## Fail if the program calls code with a known vulnerability. Needs internet access.
	$(GOVULNCHECK) ./cmd/... && $(GOVULNCHECK) -C release .

.PHONY: licenses
licenses: ## List the licenses of all dependencies. Fail if one is unknown or not allowed.
	go -C release run . licenses -systems linux,darwin,windows

.PHONY: image
image: ## Pack the binary for Linux as an OCI image, bin/image.tar, without Docker.
	GOOS=linux $(MAKE) --no-print-directory build BINARY=bin/linux/mtls-egress-webhook
	go -C release run . licenses -output bin/THIRD_PARTY_LICENSES
	go -C release run ./pack -binary $(CURDIR)/bin/linux/mtls-egress-webhook -license $(CURDIR)/LICENSE -license $(CURDIR)/bin/THIRD_PARTY_LICENSES \
		-tag $(IMAGE) -output $(CURDIR)/bin/image.tar

# What is released has been tested on everything in docs/reference/compatibility.md.
.PHONY: release
release: ## Build all release artifacts of this commit in dist/: binaries, image, chart, SBOM, licenses, checksums.
	go run ./test/matrix current
	$(MAKE) --no-print-directory artifacts

.PHONY: artifacts
artifacts: $(HELM) ## Like release, without a look at docs/reference/compatibility.md.
	for platform in $(PLATFORMS); do \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} $(MAKE) --no-print-directory build BINARY=bin/release/$$platform/mtls-egress-webhook; \
	done
	go -C release run . assemble -output '$(DIST)' -helm $(HELM) \
		-version '$(VERSION)' -commit '$(COMMIT)' -created '$(SOURCE_DATE_EPOCH)' -image '$(if $(REGISTRY),$(REGISTRY)/)mtls-egress-webhook' -source '$(SOURCE)' \
		$(foreach platform,$(PLATFORMS),-binary $(platform)=bin/release/$(platform)/mtls-egress-webhook)

# The clones have different folders and build caches, so that the second build reuses nothing from the first.
.PHONY: verify-reproducible
verify-reproducible: ## Build the release of HEAD twice, in two folders, and fail if any byte differs. Takes two full builds.
	folder=$$(mktemp -d) && trap 'chmod -R u+w "$$folder"; rm -rf "$$folder"' EXIT && \
	for clone in one elsewhere/two; do \
		git clone --quiet . "$$folder/$$clone" && GOCACHE=$$folder/$${clone##*/}.cache $(MAKE) --no-print-directory -C "$$folder/$$clone" artifacts; \
	done && diff -r "$$folder/one/dist" "$$folder/elsewhere/two/dist" && echo 'both builds are identical'

.PHONY: registry-login
registry-login: ## Log in to REGISTRY with REGISTRY_USER and REGISTRY_PASSWORD from the environment.
	printf '%s' "$$REGISTRY_PASSWORD" | go -C release tool crane auth login '$(firstword $(subst /, ,$(REGISTRY)))' --username "$$REGISTRY_USER" --password-stdin

# Both commands read the credentials from Docker's configuration. A registry on this machine has no TLS.
.PHONY: publish
publish: $(HELM) ## Push the image and the chart in dist/ to REGISTRY. Write the subjects of the provenance to bin/release/subjects.
	layout=$$(mktemp -d) && trap 'rm -rf "$$layout"' EXIT && \
	tar -xf '$(DIST)/mtls-egress-webhook_$(VERSION)_image.tar' -C "$$layout" && \
	go -C release tool crane push "$$layout" '$(REGISTRY)/mtls-egress-webhook:$(VERSION)'
	$(HELM) push '$(DIST)'/mtls-egress-webhook-*.tgz 'oci://$(REGISTRY)/charts' $(if $(filter localhost:% 127.0.0.1:%,$(REGISTRY)),--plain-http)
	mkdir -p '$(dir $(SUBJECTS))'
	{ cat '$(DIST)/SHA256SUMS'; sed 's#^sha256:\(.*\)#\1  $(REGISTRY)/mtls-egress-webhook#' '$(DIST)/image.digest'; } > '$(SUBJECTS)'

# Keyless signing: the signature contains the identity of the workflow. https://docs.sigstore.dev/cosign/signing/overview/
.PHONY: sign
sign: ## Sign the checksums and the published image, and attach the SBOM to the image (cosign).
	$(COSIGN) sign-blob --yes --bundle '$(DIST)/SHA256SUMS.sigstore.json' '$(DIST)/SHA256SUMS'
	$(COSIGN) sign --yes '$(REGISTRY)/mtls-egress-webhook@'$$(cat '$(DIST)/image.digest')
	$(COSIGN) attest --yes --type spdxjson --predicate '$(DIST)/mtls-egress-webhook_$(VERSION).spdx.json' '$(REGISTRY)/mtls-egress-webhook@'$$(cat '$(DIST)/image.digest')

.PHONY: publish-files
publish-files: ## Create the GitHub release of the tag VERSION with the files in dist/ (gh).
	gh release create '$(VERSION)' '$(DIST)'/* --verify-tag --generate-notes

# The file name of a tool contains its version, so that each version is a separate file.
define install
	mkdir -p $(@D)
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && GOFLAGS= GOBIN=$$folder go install $(1) && mv $$folder/* $@
endef

$(GOLANGCI_LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0)

$(CONTROLLER_GEN):
	$(call install,sigs.k8s.io/controller-tools/cmd/controller-gen@v0.21.0)

$(HELM):
	$(call install,helm.sh/helm/v4/cmd/helm@v4.3.2)

$(HELM_DOCS):
	$(call install,github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2)

$(BENCHSTAT):
	$(call install,golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da)

$(GOVULNCHECK):
	$(call install,golang.org/x/vuln/cmd/govulncheck@v1.9.0)

$(ACTIONLINT):
	$(call install,github.com/rhysd/actionlint/cmd/actionlint@v1.7.12)

# A folder with its own Python, so that no other packages are found or changed.
$(MKDOCS)/bin/mkdocs: site/requirements.txt
	rm -rf '$(MKDOCS)' && python3 -m venv '$(MKDOCS)' || { echo 'docs: python3 with its module venv is missing; on Debian, install python3-venv' >&2; exit 1; }
	'$(MKDOCS)/bin/pip' install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement site/requirements.txt
	touch $@

# Its parsers are written in C. With CGO_ENABLED=1, the build names a missing C compiler.
$(VALE): export CGO_ENABLED := 1
$(VALE):
	$(call install,github.com/vale-cli/vale/v3/cmd/vale@v3.21.0)
