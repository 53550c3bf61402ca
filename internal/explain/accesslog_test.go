package explain

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/egress"
)

func TestAccessLog(t *testing.T) {
	at := time.Date(2026, time.November, 30, 12, 0, 1, 2e6, time.UTC)
	const cluster = "outbound|443|mtls-egress|external.system.com.mtls-egress.internal"
	sinkhole := egress.Sinkhole{}.Address(host).String()
	tests := map[string]struct {
		line string
		want []Call
	}{
		"a call that the partner answered": {
			line: `[2026-11-30T12:00:01.002Z] "GET /orders HTTP/1.1" 200 - via_upstream - "-" 0 5 3 2 "-" ` +
				`"Go-http-client/1.1" "d0" ` +
				`"external.system.com" "192.0.2.7:443" ` + cluster + ` 10.244.0.9:33004 ` + sinkhole + `:80 10.244.0.9:41322 - ` +
				`mtls-egress`,
			want: []Call{{
				Time: at, Code: 200, Details: "via_upstream", Upstream: "192.0.2.7:443", Cluster: cluster, Called: sinkhole + ":80",
			}},
		},
		"a call without a connection, with a reason in quotes and one in braces": {
			line: `[2026-11-30T12:00:01.002Z] "GET /orders HTTP/1.1" 503 URX,UF upstream_reset_before_response_` +
				`started{remote_connection_failure|TLS_error:|` +
				`268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED} - "TLS_error:|268435581:SSL routines:x" 0 ` +
				`91 7 - "-" "-" "d0" ` +
				`"external.system.com:80" "192.0.2.7:443" ` + cluster + ` - ` + sinkhole + `:80 10.244.0.9:41322 - mtls-egress`,
			want: []Call{{
				Time: at, Code: 503, Flags: []string{"URX", "UF"},
				Upstream: "192.0.2.7:443", Cluster: cluster, Called: sinkhole + ":80",
				Details: "upstream_reset_before_response_started{remote_connection_failure|TLS_error:|268435581:SSL " +
					"routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED}",
				Failure: "TLS_error:|268435581:SSL routines:x",
			}},
		},
		"a connection with the app's own TLS": {
			line: `[2026-11-30T12:00:01.002Z] "- - -" 0 - - - "-" 517 3000 20 - "-" "-" "-" "-" "192.0.2.7:443" ` +
				`outbound|443||external.system.com.mtls-egress.internal 10.244.0.9:5 ` + sinkhole + `:443 10.244.0.9:6 ` +
				`external.system.com -`,
			want: []Call{{
				Time: at, Details: "-", Upstream: "192.0.2.7:443",
				Cluster: "outbound|443||external.system.com.mtls-egress.internal", Called: sinkhole + ":443",
			}},
		},
		"JSON": {
			line: `{"start_time":"2026-11-30T12:00:01.002Z","protocol":"HTTP/1.1","response_code":503,"response_flags":"UC",` +
				`"response_code_details":"x","authority":"EXTERNAL.system.com.","upstream_host":"192.0.2.7:443","upstream_` +
				`cluster":"` + cluster + `","downstream_local_address":"` + sinkhole + `:80"}`,
			want: []Call{{
				Time: at, Code: 503, Flags: []string{"UC"}, Details: "x",
				Upstream: "192.0.2.7:443", Cluster: cluster, Called: sinkhole + ":80",
			}},
		},
		"a call that was passed on": {
			line: `[2026-11-30T12:00:01.002Z] "- - -" 0 UF,URX - - "delayed_connect_error:_Connection_refused" 0 0 1 - "-" ` +
				`"-" "-" "-" "` + sinkhole +
				`:8080" PassthroughCluster - ` + sinkhole + `:8080 10.244.0.9:6 - -`,
			want: []Call{{
				Time: at, Flags: []string{"UF", "URX"}, Details: "-", Failure: "delayed_connect_error:_Connection_refused",
				Upstream: sinkhole + ":8080", Cluster: "PassthroughCluster", Called: sinkhole + ":8080",
			}},
		},
		"a call to another host": {
			line: `[2026-11-30T12:00:01.002Z] "GET / HTTP/1.1" 200 - via_upstream - "-" 0 5 3 2 "-" "-" "d0" ` +
				`"other.example.com" ` +
				`"192.0.2.8:80" outbound|80||other.example.com 10.244.0.9:3 192.0.2.8:80 10.244.0.9:4 - default`,
		},
		"a line of the agent": {line: "2026-11-30T12:00:01.002Z\tinfo\tcache\tgenerated new workload certificate " +
			"external.system.com"},
		"a line that is cut":   {line: `[2026-11-30T12:00:01.002Z] "GET /`},
		"JSON that isn't ours": {line: `{"level":"info","msg":"external.system.com"}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			target := egress.FromEgressTarget(ns, host, nil, egress.Sinkhole{})
			got := ReadAccessLog(target, []byte("first line\n"+test.line+"\n"))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
