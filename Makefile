# The front door. Every target works from a clean clone on Debian or Ubuntu with a Rust toolchain.

.PHONY: run test bench bench-hl7 check crash soak scenarios fuzz

run: ## Build and start the demo hospital (Ctrl-C stops it; its data is kept in ./data)
	@scripts/install.sh run
	cargo build --release --locked --bin orderly
	@exec target/release/orderly demo --site sites/demo --data data

test: ## All tests, the browser ones too
	@scripts/install.sh test
	@scripts/test.sh

check: ## What a change must pass before the tests: format, lints, site folders
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo run --locked --quiet --bin orderly -- check sites/demo
	cargo run --locked --quiet --bin orderly -- check sites/bench

bench: ## The benchmarks, as a table with ratios
	@scripts/install.sh run
	cargo build --release --locked --bin orderly
	target/release/orderly bench
	@$(MAKE) --no-print-directory bench-hl7

bench-hl7: ## Reading and checking HL7 alone, against other libraries and a bare scan (ORDERLY_PYTHON has python-hl7)
	cargo run --release --locked --quiet -p orderly-hl7-bench

crash: ## The long crash and failure tests: KILLS=1000 SEED=1 ROUNDS=20
	@scripts/install.sh run
	cargo build --release --locked --bin orderly
	ORDERLY_CRASH_KILLS=$(or $(KILLS),1000) ORDERLY_CRASH_SEED=$(or $(SEED),1) cargo test --release --locked -p orderly-tests --test crash -- --nocapture
	ORDERLY_FAILURE_ROUNDS=$(or $(ROUNDS),20) ORDERLY_FAILURE_SEED=$(or $(SEED),1) cargo test --release --locked -p orderly-tests --test failures -- --nocapture --test-threads 1

soak: ## A hospital day for long, the server's memory read each minute; fails when it grows: MINUTES=10080 RATE=5 is a week (it prints what was stored: nothing of it is dropped)
	@scripts/install.sh run
	cargo build --release --locked --bin orderly
	ORDERLY_SOAK_MINUTES=$(or $(MINUTES),20) ORDERLY_SOAK_RATE=$(or $(RATE),50) ORDERLY_TEST_PROGRAM=$(CURDIR)/target/release/orderly \
		cargo test --locked --workspace --test crash memory_stays_flat -- --nocapture

scenarios: ## The acceptance scenarios with each crash point ending the server: KILLS=20 (not a release: that has no such points)
	@scripts/install.sh run
	cargo build --locked --bin orderly
	ORDERLY_SCENARIO_KILLS=$(or $(KILLS),20) cargo test --locked --test scenarios -- --nocapture

fuzz: ## Mutations of the kept corpus for long: SECONDS=3600 SEED=1 (the tests run them for a short time)
	ORDERLY_FUZZ_SEED=$(or $(SEED),1) cargo run --release --locked -p orderly-fuzz --bin orderly-fuzz -- $(or $(SECONDS),3600) $(TARGETS)
