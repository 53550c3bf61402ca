#!/usr/bin/env bash
# Runs all tests, whatever fails, and ends with a list of the packages and tests that failed. The
# current directory is the project's.
#
#	test/all/all.sh ON_A_NODE OVER_IPV6 ON_OTHERS
#
# All are extended regular expressions for import paths. Packages that match ON_A_NODE run a
# cluster: they need the parts of a node in MTLS_EGRESS_NODE, or a cluster in KUBECONFIG, and are
# skipped otherwise. The core (-short) of packages that match OVER_IPV6 as well runs again, on a node
# with IPv6 addresses only; not with a KUBECONFIG, because a given cluster has the addresses that it
# has. MTLS_EGRESS_OTHER_ASSETS names directories of other API servers, as PATH does: packages that
# match ON_OTHERS run on each of them, instead of on the one in MTLS_EGRESS_ASSETS.
set -uo pipefail
on_a_node=$1 over_ipv6=$2 on_others=$3
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM # what is interrupted is not one of many failures
failed= note=

# run runs a command and keeps what failed in it, by the output of `go test`.
run() {
	"$@" 2>&1 | tee "$log" && return
	failed+=$(awk -v command="$*" -v note="$note" '
		/^ *--- FAIL: / { tests = tests "\n    " $3 }
		/^FAIL\t/       { print "  " $2 ($3 ~ /^\[/ ? " " $3 " " $4 : "") note tests; tests = ""; told = 1 }
		END             { if (!told) print "  " command tests }' "$log")$'\n'
}

all=$(go list ./...) || exit
others=${MTLS_EGRESS_OTHER_ASSETS:-}
run go test -timeout 30m $(grep -vxE "$on_a_node${others:+|$on_others}" <<<"$all")
# Not from the cache of the go command, which doesn't see the variable that selects the API server.
for assets in ${others//:/ }; do
	note=" on $("$assets/kube-apiserver" --version)"
	MTLS_EGRESS_ASSETS=$assets run go test -count 1 -timeout 30m $(grep -xE "$on_others" <<<"$all")
done
note=

# The modules of their own. Only their packages with tests are compiled: the others are whole
# servers.
module=$(go env GOMOD)
for folder in $(find release test -name '*_test.go' -not -path '*/testdata/*' -exec dirname {} + | sort -u); do
	[ "$(go -C "$folder" env GOMOD)" = "$module" ] || run go -C "$folder" test -timeout 30m .
done

packages=$(grep -xE "$on_a_node" <<<"$all")
if [ -n "${MTLS_EGRESS_NODE:-}${KUBECONFIG:-}" ]; then
	# One at a time: each takes both cores. Never from the cache of the go command, which doesn't see
	# that they build and install the webhook.
	run go test -count 1 -p 1 -timeout 40m $packages
	if [ -z "${KUBECONFIG:-}" ]; then
		note=" over IPv6"
		MTLS_EGRESS_NODE_FAMILY=ipv6 run go test -short -count 1 -p 1 -timeout 20m $(grep -xE "$over_ipv6" <<<"$packages")
	fi
else
	echo "SKIPPED: the tests on a node ($on_a_node) need root on Linux, or a cluster with Istio in KUBECONFIG"
fi

[ -z "$failed" ] || { printf '\nFAILED:\n%s' "$failed"; exit 1; }
