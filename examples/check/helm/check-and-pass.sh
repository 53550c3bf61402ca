#!/bin/sh
# Passes manifests on from standard input to standard output, unless check finds errors in them. The
# findings are on standard error. Arguments are flags of check.
set -eu
input=$(mktemp)
trap 'rm -f "$input"' EXIT
cat >"$input"
mtls-egress-webhook check -f - "$@" <"$input" >&2
cat "$input"
