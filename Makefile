# Everything a developer or the CI does. Debian packages are installed as needed, with sudo unless
# this runs as root; Rust must be there.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: build deps check test cluster deb demo boot boot-lvm boot-zfs boot-kexec fuzz bench bench-lock bench-packages bench-restore bench-stale clean help

VERSION := $(shell sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)
DEB := build/lockkeeper_$(VERSION)_$(shell dpkg --print-architecture).deb
DEB_SOURCES := Cargo.toml Cargo.lock $(wildcard README.md ARCHITECTURE.md CHANGELOG.md docs/man/*) \
	$(shell find src units -type f) \
	$(filter-out %.debhelper %.log %.substvars,$(wildcard debian/lockkeeper.*)) \
	debian/changelog debian/control debian/copyright debian/rules debian/source/format
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)
CARGO_TARGET_DIR ?= target

## build: the programs, optimized, in target/release
build: deps
	cargo build --release --locked --bins

## deps: the Debian packages and the Rust that building and testing need
deps:
	@scripts/install-deps

## check: formatting and lints
check:
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

## test: everything, from the lints to the cluster of real nodes
test:
	@scripts/test

## deb: the package; prints where it is
deb: deps $(DEB)
	@echo $(DEB)

$(DEB): $(DEB_SOURCES)
	cargo build --release --locked --bins
	mkdir -p build
	LOCKKEEPER_BIN_DIR=$(CARGO_TARGET_DIR)/release LOCKKEEPER_DEB_DIR=build debian/rules binary

## demo: three nodes update themselves, one at a time, before your eyes
demo: deps $(DEB)
	$(SUDO) tests/cluster/demo --deb $(DEB)

## fuzz: libFuzzer tries every parser that reads what comes over a network, FUZZ_SECONDS each
FUZZ_SECONDS ?= 60
fuzz: deps
	scripts/fuzz $(FUZZ_SECONDS)

## bench: what the installed agent costs
bench: deps $(DEB)
	$(SUDO) benches/idle --deb $(DEB)

## bench-lock: what the lock in etcd costs, beside the least that etcd can do
bench-lock: deps
	cargo bench --locked --bench lock

## bench-packages: what a check and an update cost, beside apt-get and unattended-upgrade
bench-packages: deps
	$(SUDO) env "PATH=$$PATH" benches/packages

## bench-restore: how soon after a reboot all containers are healthy, beside Docker's own restart policy
bench-restore: deps $(DEB)
	$(SUDO) benches/restore --deb $(DEB)

## bench-stale: what it costs to find services on replaced files, beside needrestart
bench-stale: deps $(DEB)
	$(SUDO) benches/stale --deb $(DEB)

## cluster: the scenarios on real nodes only
cluster: deps $(DEB)
	$(SUDO) tests/cluster/run --deb $(DEB) --jobs 3

## boot: an update is undone by a snapshot on a whole machine in QEMU; takes some minutes
boot: deps $(DEB)
	@scripts/install-deps tests/boot/packages.txt
	$(SUDO) tests/boot/run --deb $(DEB)

## boot-lvm: the same where the root is a thin volume of LVM; not a part of `make test`
boot-lvm: deps $(DEB)
	@scripts/install-deps tests/boot/packages.txt
	$(SUDO) tests/boot/run --deb $(DEB) --root lvm-thin

## boot-zfs: the same where the root is on ZFS, from Debian's section contrib; not a part of `make test`
boot-zfs: deps $(DEB)
	@scripts/install-deps tests/boot/packages.txt
	$(SUDO) tests/boot/run --deb $(DEB) --root zfs

## boot-kexec: reboots by kexec on a whole machine, beside full ones; not a part of `make test`
boot-kexec: deps $(DEB)
	@scripts/install-deps tests/boot/packages.txt
	$(SUDO) tests/boot/kexec --deb $(DEB)

clean:
	cargo clean
	debian/rules clean
	rm -rf build

## help: this list
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)
