package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// parse returns the options of a command line.
func parse[S server](t *testing.T, options S, args ...string) S {
	t.Helper()
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	for _, group := range options.flags().FlagSets {
		flags.AddFlagSet(group)
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return options
}

// wantProblems compares the errors in a command line.
func wantProblems(t *testing.T, want []string, options server) {
	t.Helper()
	var got []string
	if err := options.validate(); err != nil {
		got = strings.Split(err.Error(), "\n")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems differ (-want +got):\n%s", diff)
	}
}

func TestServeControllerRefusesOptions(t *testing.T) {
	tests := map[string]struct {
		args []string
		want []string
	}{
		"the defaults and a namespace are enough": {},
		"all that the chart passes": {args: []string{
			"--metrics-address=:8080",
			"--health-address=:8081",
			"--leader-elect",
			"--target-retention=10m",
			"--expiry-warnings=720h,168h",
			"--verify-targets=marked",
			"--verify-interval=1h",
			"--read-owners=true",
			"--team-labels=team,app.kubernetes.io/part-of",
			`--workloads={"deployments.apps":{"kind":"Deployment","templates":["spec.template"]}}`,
			"--mesh-config=istio",
			"--root-namespace=istio-system",
			"--log-format=json",
			"--log-level=info",
		}},
		"the limits": {
			args: []string{"--target-retention=1ns", "--verify-interval=1m", "--survey-interval=1s"},
		},
		"no retention": {
			args: []string{"--target-retention=0s"},
			want: []string{"--target-retention: 0s is not positive; use 1s for almost no retention"},
		},
		"an unknown set of targets": {
			args: []string{"--verify-targets=some"},
			want: []string{`--verify-targets: "some" is not one of off, marked, all`},
		},
		"handshakes without a pause": {
			args: []string{"--verify-interval=59s"},
			want: []string{"--verify-interval: 59s is less than the minimum of 1m, which protects partners from load"},
		},
		"surveys without a pause": {
			args: []string{"--survey-interval=1ms"},
			want: []string{
				"--survey-interval: 1ms is less than the minimum of 1s; each survey reads the metadata of all Pods",
			},
		},
		"workloads that are not a table": {
			args: []string{`--workloads={"pods":{"kind":"Pod","templates":["spec.template"]}}`},
			want: []string{
				`--workloads: [pods]: Invalid value: "pods": Pods are not workloads, and always included; remove them`,
			},
		},
		"a warning after the end": {
			args: []string{"--expiry-warnings=-1h"},
			want: []string{"--expiry-warnings: -1h0m0s is not positive"},
		},
		"no labels of teams": {args: []string{"--team-labels="}},
		"a label of teams that is not the key of a label": {
			args: []string{"--team-labels=team=shop"},
			want: []string{
				`--team-labels: "team=shop" is not the key of a label: name part must consist of alphanumeric characters, ` +
					`'-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  ` +
					`or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`,
			},
		},
		"health on the port of metrics": {
			args: []string{"--health-address=:8080"},
			want: []string{"--health-address: port 8080 is already used by --metrics-address"},
		},
		"profiling on the port of the metrics": {
			args: []string{"--profiling-address=127.0.0.1:8080"},
			want: []string{"--profiling-address: port 8080 is already used by --metrics-address"},
		},
		"profiling": {args: []string{"--profiling-address=127.0.0.1:6060"}},
		"profiling without a port": {
			args: []string{"--profiling-address=6060"},
			want: []string{`--profiling-address: "6060" is not [HOST]:PORT`},
		},
		"a namespace that isn't set": {args: []string{"--namespace="}, want: []string{"--namespace: is required"}},
		"all errors are reported at once": {args: []string{"--namespace=", "--target-retention=0s"}, want: []string{
			"--target-retention: 0s is not positive; use 1s for almost no retention", "--namespace: is required",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wantProblems(t, test.want,
				parse(t, &controllerOptions{}, append([]string{"--namespace=mtls-egress"}, test.args...)...))
		})
	}
}

func TestServeWebhookRefusesOptions(t *testing.T) {
	const label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and " +
		"must start and end with an " +
		"alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is " +
		"'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
	const subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or " +
		"'.', and must start and end " +
		"with an alphanumeric character (e.g. 'example.com', regex used for validation is " +
		"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
	tests := map[string]struct {
		args []string
		want []string
	}{
		"the defaults and a namespace are enough": {},
		"all that the chart passes": {args: []string{
			"--webhook-port=9443",
			"--metrics-address=:8080",
			"--health-address=:8081",
			"--service-name=mtls-egress-webhook",
			"--ca-secret=mtls-egress-webhook-ca",
			"--webhook-configuration=0-mtls-egress-webhook",
			"--mesh-config=istio",
			"--root-namespace=istio-system",
			"--shutdown-delay=10s",
			"--log-format=json",
			"--log-level=info",
		}},
		"what runs out of cluster": {args: []string{
			"--webhook-host=127.0.0.1",
			"--tls-dns-names=127.0.0.1,::1,localhost",
			"--metrics-address=0",
			"--health-address=127.0.0.1:18081",
		}},
		"the limits": {
			args: []string{"--shutdown-delay=30s", "--webhook-port=65535", "--metrics-address=[::1]:1"},
		},
		"no delay":                   {args: []string{"--shutdown-delay=0s"}},
		"a namespace that isn't set": {args: []string{"--namespace="}, want: []string{"--namespace: is required"}},
		"a namespace that can't be": {
			args: []string{"--namespace=Here"},
			want: []string{`--namespace: "Here": ` + label},
		},
		"a namespace that has no end": {
			args: []string{"--namespace=" + strings.Repeat("n", 64)},
			want: []string{
				fmt.Sprintf(`--namespace: "%s": must be no more than 63 characters`, strings.Repeat("n", 64)),
			},
		},
		"a Service that can't be": {
			args: []string{"--service-name=a.b"},
			want: []string{`--service-name: "a.b": ` + "must not contain dots"},
		},
		"a Secret that can't be": {
			args: []string{"--ca-secret=a/b"},
			want: []string{`--ca-secret: "a/b": ` + subdomain},
		},
		"a root namespace that isn't": {
			args: []string{"--root-namespace="},
			want: []string{"--root-namespace: is required"},
		},
		"a control plane with a revision": {args: []string{"--mesh-config=istio-1-31"}},
		"a mesh configuration that isn't": {
			args: []string{"--mesh-config="},
			want: []string{"--mesh-config: is required"},
		},
		"a mesh configuration with a key": {
			args: []string{"--mesh-config=istio/mesh"},
			want: []string{`--mesh-config: "istio/mesh": ` + subdomain},
		},
		"a configuration that isn't": {
			args: []string{"--webhook-configuration="},
			want: []string{"--webhook-configuration: is required"},
		},
		"a configuration after Istio's": {
			args: []string{"--webhook-configuration=mtls"},
			want: []string{
				`--webhook-configuration: "mtls" sorts after Istio's istio-revision-tag-… and ` +
					`istio-sidecar-injector, but must be called before them; use a name that starts with 0-`,
			},
		},
		"a host that is a name": {
			args: []string{"--webhook-host=localhost"},
			want: []string{`--webhook-host: "localhost" is not an IP address`},
		},
		"port 0": {
			args: []string{"--webhook-port=0"},
			want: []string{"--webhook-port: 0: must be between 1 and 65535, inclusive"},
		},
		"a port beyond the last": {
			args: []string{"--webhook-port=65536"},
			want: []string{"--webhook-port: 65536: must be between 1 and 65535, inclusive"},
		},
		"a delay beyond the grace": {
			args: []string{"--shutdown-delay=31s"},
			want: []string{"--shutdown-delay: 31s is not between 0s and 30s"},
		},
		"a negative delay": {
			args: []string{"--shutdown-delay=-1s"},
			want: []string{"--shutdown-delay: -1s is not between 0s and 30s"},
		},
		"a name with a scheme": {
			args: []string{"--tls-dns-names=https://127.0.0.1"},
			want: []string{
				`--tls-dns-names: "https://127.0.0.1" is neither a DNS name in lower case nor an IP address`,
			},
		},
		"a name with a port": {
			args: []string{"--tls-dns-names=127.0.0.1:9443"},
			want: []string{`--tls-dns-names: "127.0.0.1:9443" is neither a DNS name in lower case nor an IP address`},
		},
		"a certificate of no duration": {args: []string{"--certificate-duration=0s"}, want: []string{
			"--certificate-duration: 0s must be positive and less than 2920h0m0s, a third of the lifetime of the CA",
			"--certificate-adoption-delay: 5m0s must be positive and less than a third of --certificate-duration",
		}},
		"a certificate that outlives its authority": {
			args: []string{"--certificate-duration=2920h"},
			want: []string{
				"--certificate-duration: 2920h0m0s must be positive and less than 2920h0m0s, a third " +
					"of the lifetime of the CA",
			},
		},
		"a certificate that is adopted too late": {
			args: []string{"--certificate-duration=15m"},
			want: []string{
				"--certificate-adoption-delay: 5m0s must be positive and less than a third of --certificate-duration",
			},
		},
		"an address without a port": {
			args: []string{"--metrics-address=localhost"},
			want: []string{`--metrics-address: "localhost" is not [HOST]:PORT`},
		},
		"an address with a host name": {
			args: []string{"--metrics-address=example.com:80"},
			want: []string{`--metrics-address: "example.com:80": the host is neither an IP address nor localhost`},
		},
		"an address with port 0": {
			args: []string{"--metrics-address=:0"},
			want: []string{`--metrics-address: ":0": the port is not a number from 1 to 65535`},
		},
		"an address with a named port": {
			args: []string{"--health-address=:http"},
			want: []string{`--health-address: ":http": the port is not a number from 1 to 65535`},
		},
		"health can't be switched off": {
			args: []string{"--health-address=0"},
			want: []string{`--health-address: "0" is not [HOST]:PORT`},
		},
		"metrics on the webhook's port": {
			args: []string{"--metrics-address=:9443"},
			want: []string{"--metrics-address: port 9443 is already used by --webhook-port"},
		},
		"health on the port of metrics": {
			args: []string{"--health-address=:8080"},
			want: []string{"--health-address: port 8080 is already used by --metrics-address"},
		},
		"a log format that isn't": {
			args: []string{"--log-format=xml"},
			want: []string{`--log-format: "xml" is neither text nor json`},
		},
		"a log level that isn't": {
			args: []string{"--log-level=trace"},
			want: []string{`--log-level: "trace" is not one of debug, error, info, warn`},
		},
		"a log level in upper case": {
			args: []string{"--log-level=INFO"},
			want: []string{`--log-level: "INFO" is not one of debug, error, info, warn`},
		},
		"all errors are reported at once": {
			args: []string{"--webhook-port=0", "--shutdown-delay=1h", "--namespace=", "--metrics-address=x",
				"--log-format=xml"},
			want: []string{
				"--webhook-port: 0: must be between 1 and 65535, inclusive",
				"--shutdown-delay: 1h0m0s is not between 0s and 30s",
				"--namespace: is required",
				`--metrics-address: "x" is not [HOST]:PORT`,
				`--log-format: "xml" is neither text nor json`,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wantProblems(t, test.want,
				parse(t, &webhookOptions{}, append([]string{"--namespace=mtls-egress"}, test.args...)...))
		})
	}
}

func TestServingNamesAreTheServiceAndWhatIsAdded(t *testing.T) {
	options := parse(t, &webhookOptions{}, "--namespace=mtls-egress", "--service-name=hook",
		"--tls-dns-names=127.0.0.1,localhost")
	if diff := cmp.Diff([]string{"hook.mtls-egress.svc", "127.0.0.1", "localhost"},
		options.servingNames()); diff != "" {
		t.Errorf("names differ (-want +got):\n%s", diff)
	}
}

// A live read of admission must not wait for reconciliations.
func TestAPIServerIsAskedWithoutALimitOfOurs(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	options := parse(t, &webhookOptions{}, "--kubeconfig=testdata/kubeconfig.yaml", "--context=second")
	config, err := restConfig(options.kubeconfig, options.context)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://127.0.0.1:2" || config.QPS != -1 || config.RateLimiter != nil {
		t.Errorf("host %s, %v queries per second, limiter %v; want that of the context second and no limit",
			config.Host, config.QPS, config.RateLimiter)
	}
}
