package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mtls.egress/webhook/test/golden"
)

const adoptSets = "../adopt/testdata/sets"

func TestAdoptPrintsProposalsAndFailsForWhatItRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
		err  string
		out  string
	}{
		"a set": {args: []string{"-f", "seed.yaml"}, out: "shop/external.system.com: can be taken over"},
		"a set with its steps": {
			args: []string{"-f", "seed.yaml", "--dry-run"}, out: "3. Annotate the Deployment shop/shop",
		},
		"a set as manifests": {args: []string{"-f", "seed.yaml", "-o", "yaml"}, out: "kind: EgressTarget"},
		"a wildcard": {
			args: []string{"-f", "wildcard.yaml"}, code: ExitNotFine, out: "can't be taken over",
			err: "1 of 1 set can't be taken over: *.system.com",
		},
		"a wildcard as manifests, without the text that has the reason": {
			args: []string{"-f", "wildcard.yaml", "-o", "yaml"}, code: ExitNotFine,
			err: "*.system.com: the DestinationRule shop/partner has the wildcard host *.system.com, and an EgressTarget is " +
				"one host; write the objects for each host that the apps call, or write one EgressTarget for each and " +
				"annotate the workloads by hand",
		},
		"a host without a set": {
			args: []string{"-f", "seed.yaml", "other.example.com"}, code: ExitNotFine,
			err: "no DestinationRule of the input presents a client certificate to other.example.com",
		},
		"nothing to take over": {
			args: []string{"-f", "../nothing.yaml"}, out: "No DestinationRule of the input presents a client certificate, so " +
				"there is nothing to take over.\n",
		},
		"nothing to take over, as JSON": {
			args: []string{"-f", "../nothing.yaml", "-o", "json"},
			out:  "{\n    \"apiVersion\": \"v1\",\n    \"items\": [],\n    \"kind\": \"List\"\n}\n",
		},
		"an object that can't be decoded": {
			args: []string{"-f", "../unreadable.yaml"}, code: ExitUnable,
			err: "../adopt/testdata/unreadable.yaml, document 1, line 2, DestinationRule shop/partner: can't be decoded: " +
				"spec.host has a value of the wrong type, or one that Istio doesn't know; correct it",
		},
		"no input": {code: ExitUnable, err: "no input: pass -f FILE|DIR|-, -k DIR or --live"},
		"two inputs": {
			args: []string{"-f", "seed.yaml", "--live"}, code: ExitUnable, err: "-f, -k and --live are mutually exclusive",
		},
		"steps without a cluster": {
			args: []string{"-f", "seed.yaml", "--apply"}, code: ExitUnable, err: "--apply and --back need --live",
		},
		"all that is wrong": {
			args: []string{"--live", "--apply", "--back", "-o", "json"}, code: ExitUnable,
			err: "--apply and --back are mutually exclusive\n--back needs the hosts to restore\n" +
				"-o json prints manifests, and --dry-run, --apply and --back print steps; pass one of them",
		},
		"manifests and steps": {
			args: []string{"-f", "seed.yaml", "-o", "yaml", "--dry-run"}, code: ExitUnable,
			err: "-o yaml prints manifests, and --dry-run, --apply and --back print steps; pass one of them",
		},
		"a kubeconfig that isn't there": {
			args: []string{"--live", "--kubeconfig=/nowhere"}, code: ExitUnable,
			err: "loading the kubeconfig: stat /nowhere: no such file or directory",
		},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"adopt"}
			for _, arg := range test.args {
				if strings.HasSuffix(arg, ".yaml") {
					arg = filepath.Join(adoptSets, arg)
				}
				args = append(args, arg)
			}
			out, _, err := execute(args...)
			message := ""
			if err != nil {
				message = withoutUsage(Message(err))
			}
			if message != test.err || ExitCode(err) != test.code || !strings.Contains(out, test.out) {
				t.Errorf("%d %s\n%s", ExitCode(err), message, out)
			}
		})
	}
}

func TestAdoptListsWhatTheManifestsReplace(t *testing.T) {
	_, diagnostics, err := execute("adopt", "-f", filepath.Join(adoptSets, "several-hosts.yaml"), "-o", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/adopt-replaced.golden.txt", []byte(diagnostics))
}

func TestWhatASidecarAnswersIsRead(t *testing.T) {
	dump := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join("testdata/sidecar", name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	for host, want := range map[string]string{
		"external.system.com": "outbound|443|mtls-egress|external.system.com.mtls-egress.internal",
		"closed.system.com":   noCluster,
		"other.system.com":    "",
	} {
		clusters, err := clustersIn(dump("routes.json"), host)
		if got := strings.Join(clusters, ","); got != want || err != nil {
			t.Errorf("%s is led to %q, %v, want %q", host, got, err, want)
		}
	}
	for cluster, want := range map[string]string{
		"outbound|443|mtls-egress|external.system.com.mtls-egress.internal": "file-cert:/etc/mtls-egress/" +
			"external.system.com/cert~/etc/mtls-egress/external.system.com/key",
		"outbound|443||by.hand.com":         "file-cert:/etc/by-hand/cert~/etc/by-hand/key",
		"outbound|443||external.system.com": "",
		"missing":                           "",
	} {
		if got, err := certificateIn(dump("clusters.json"), cluster); got != want || err != nil {
			t.Errorf("%s presents %q, %v, want %q", cluster, got, err, want)
		}
	}
	services := []string{"external.system.com", "external.system.com.mtls-egress.internal"}
	if got, err := callsInClusters(dump("counters.json"), services); got != (SidecarCalls{100, 5}) || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if got, found := callsInMetrics(string(dump("metrics.txt")), services); got != (SidecarCalls{907, 7}) || !found {
		t.Errorf("%+v, %t", got, found)
	}
	if _, found := callsInMetrics("", services); found {
		t.Error("a metric was found in nothing")
	}
}
