package cli

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/golden"
)

func TestGatewayPrintsTheExample(t *testing.T) {
	stdout, stderr, err := execute("gateway", "api.partner.example", "--namespace", "istio-egress")
	if err != nil || stderr != "" {
		t.Fatalf("error %v, standard error %q", err, stderr)
	}
	golden.Compare(t, filepath.Join("..", "..", "examples", "egress-gateway", "gateway.yaml"), []byte(stdout))
}

func TestGatewayWithEveryFlagIsTheGoldenOne(t *testing.T) {
	stdout, stderr, err := execute("gateway", "API.partner.example.", "--namespace", "istio-egress", "--port", "8443",
		"--sni", "Front.partner.example", "--selector", "istio=egress,site=a")
	if err != nil || stderr != "" {
		t.Fatalf("error %v, standard error %q", err, stderr)
	}
	golden.Compare(t, filepath.Join("..", "..", "test", "testdata", "cli", "gateway.txt"), []byte(stdout))
}

func TestGatewayNamesAllThatIsWrong(t *testing.T) {
	_, _, err := execute("gateway", "https://api.partner.example", "--selector", "istio", "--port", "0")
	const want = "HOST has a scheme, \"https\"; write the host alone, as in \"api.partner.example\"\n" +
		"--namespace \"\": pass the namespace of the gateway: a lowercase RFC 1123 label must consist of lower case " +
		"alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or " +
		"'123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')\n" +
		"--selector \"istio\": pass labels of the gateway's Pods, as in istio=egressgateway\n" +
		"--port 0: must be between 1 and 65535, inclusive"
	if err == nil {
		t.Fatal("there is no error")
	}
	if diff := cmp.Diff(want, withoutUsage(err.Error())); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
	if code := ExitCode(err); code != ExitUnable {
		t.Errorf("exit code %d, want %d", code, ExitUnable)
	}
}
