#!/bin/sh
# Calls $URL for ever with curl, each call a process with its own connection, and says when the outcome changes.
set -u
name=curl
newline='
'

# outcome_of STATUS EXIT TEXT prints what came of a call; the numbers are in curl(1), EXIT CODES. Only the text that --verbose writes
# tells a refused connection from one without a route.
outcome_of() {
  case $2 in
    0) echo "$1" ;;
    6) echo dns ;;
    7)
      case $3 in
        *refused*) echo refused ;;
        *'No route'*|*unreachable*) echo no-route ;;
        *) echo "other:$2" ;;
      esac ;;
    28) echo timeout ;;
    35|60) echo tls ;;
    18|52) echo eof ;;
    55|56) echo reset ;;
    *) echo "other:$2" ;;
  esac
}

call_for_ever() {
  last= calls=0 ok=0
  while :; do
    # The last line is that of --write-out; the body goes nowhere.
    answer=$(curl --silent --verbose --noproxy '*' --output /dev/null --max-time 1 --user-agent "$name" \
      --write-out '\n%{http_code} %{exitcode}' "$URL" 2>&1)
    result=${answer##*"$newline"}
    outcome=$(outcome_of "${result% *}" "${result#* }" "$answer")
    calls=$((calls + 1))
    case $outcome in 2??) ok=$((ok + 1)) ;; esac
    if [ "$outcome" != "$last" ]; then
      echo "$name $outcome"
      last=$outcome
    fi
    if [ $((calls % 100)) -eq 0 ]; then
      echo "$name calls=$calls ok=$ok"
    fi
    sleep 0.02
  done
}

# A shell acts on a signal only between commands, unless it is in wait.
call_for_ever &
trap 'kill $!; exit 0' TERM INT
wait
