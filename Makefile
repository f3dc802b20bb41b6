# `make help` lists the targets.
GO      ?= go
BIN     := bin/picket
VERSION ?= 0.1.0
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# Position-independent, so that addresses are random. The linker needs no C compiler for it on these platforms, and
# Windows and macOS have it by default. BUILDMODE=exe builds a static binary, for systems without glibc's loader.
PLATFORM = $(shell $(GO) env GOOS)/$(shell $(GO) env GOARCH)
BUILDMODE ?= $(if $(filter linux/amd64 linux/arm64,$(PLATFORM)),pie,default)
FUZZTIME ?= 20s
# Tests wait for servers more than they compute: test more packages at once than there are cores.
# A busy machine may need more than the 10 minutes that go test allows a package.
TESTFLAGS ?= -p 4 -timeout 30m

export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help build run test check race lint fuzz bench bench-celery deps test-go test-bounds test-browser test-celery bench-once golden noise screenshots clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/picket
	$(GO) build -trimpath -buildmode=$(BUILDMODE) -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/picket

run: build ## Build picket, serve with its own rules and watch this host
	@exec $(BIN) serve --watch-host

test: deps check ## Install what the tests need, then run all tests
	@echo "all tests passed"

check: lint race test-bounds test-browser bench-once ## Run what CI runs

deps: ## Install what the tests need: a browser, Redis, a MongoDB, Celery, Schemathesis (Debian)
	@./scripts/install-deps
	@./scripts/install-mongodb
	@./scripts/install-celery
	@./scripts/install-schemathesis

lint: ## Run gofmt, vet, staticcheck and unparam
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not formatted: $$unformatted"; exit 1; }
	$(GO) vet ./...
	cd test && $(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	$(GO) tool -modfile=tools/go.mod unparam ./...
	GOOS=windows $(GO) build -o /dev/null ./cmd/picket
	GOOS=darwin $(GO) build -o /dev/null ./cmd/picket

test-go: ## Run unit and end-to-end tests without the race detector
	$(GO) test $(TESTFLAGS) ./...

race: ## Run the same tests with the race detector
	CGO_ENABLED=1 $(GO) test -race $(TESTFLAGS) ./...

test-bounds: ## Test that hostile input cannot exhaust a server's memory
	$(GO) test -count=1 -run 'Hostile|Poisoned|Abandoned' ./cmd/picket

test-browser: ## Test the console in a headless browser, and with real Celery, Flower and Schemathesis
	cd test && $(GO) test $(TESTFLAGS) ./...

noise: ## Run a day of ordinary work and list which of picket's own rules fire on it (needs root)
	cd test && $(GO) test -count=1 -v -run TestDay ./noise

test-celery: ## Test only with real Celery and Flower
	cd test && $(GO) test -count=1 -run Celery ./...

bench-once: ## Run every benchmark once, to check that it works
	$(GO) test -run '^$$' -bench . -benchtime 1x ./... >/dev/null

fuzz: ## Fuzz every parser of untrusted bytes, each for FUZZTIME
	@for f in $$(grep -rl --include=*_test.go '^func Fuzz' .); do \
	  for name in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\).*/\1/p' $$f); do \
	    echo "$$name in $$(dirname $$f)"; $(GO) test $$(dirname $$f) -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) || exit 1; \
	  done; done

bench: ## Run the benchmarks
	$(GO) test -run '^$$' -bench . ./...

bench-celery: ## Compare a prefork Celery worker with a picket worker on the same 20,000 tasks
	cd test && $(GO) test -run '^$$' -bench Celery -benchtime 20000x .

golden: ## Rewrite the golden files and the generated pages
	$(GO) test ./internal/normalize ./internal/legacy/... -update
	$(GO) test ./rules -run Generated -update

screenshots: ## Take the screenshots of the README
	cd test && $(GO) test -count=1 -run TestConsole . -screenshots ../docs/img

clean: ## Remove build output
	rm -rf bin
