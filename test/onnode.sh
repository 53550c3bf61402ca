#!/usr/bin/env bash
# Runs the tests of the packages that are given, each on a cluster of its own.
#
# What these tests wait for happens in a real cluster that shares two cores with them, and now and then a moment comes out otherwise: a call between two states of a
# sidecar, a name that isn't known yet. So tests that failed are run once more, alone, and the output says so. A test that saw plain text gets no second try:
# that would be a moment too. What tells of it are the tests' own words, not those of the controller's events, which the log of a failed test has as well.
set -uo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() { go test -count 1 -p 1 -timeout 40m "$@" 2>&1 | tee "$log"; }

run "$@" && exit
failed=$(grep -oE '^--- FAIL: Test[A-Za-z0-9_]+' "$log" | cut -d' ' -f3 | sort -u | paste -sd'|')
if [ -z "$failed" ] || grep -qE 'plain connections|bytes in clear|bytes came in plain text|answers came without TLS|without TLS came to port|panic:|docs/guarantees.md' "$log"; then
	exit 1
fi
echo "SECOND TRY: $failed failed, and run once more"
run -run "^($failed)$" "$@"
