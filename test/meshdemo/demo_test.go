package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"mtls.egress/webhook/test/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Isolate(m.Run)) }

// essentials are what the story has to tell, each as the lines of it in their order, joined by
// blanks.
func essentials() map[string]string {
	return map[string]string{
		"the example's commands": `\$ kubectl apply -f 00-namespace\.yaml \$ kubectl create secret generic ` +
			`external-system-mtls-data -n project .* \$ kubectl apply -f deployment\.yaml`,
		"the target is ready": `external\.system\.com True Ready external-system-mtls-data \S+ 1 `,
		"the call, with the client's name as the partner saw it": `GET http://external\.system\.com/secured-endpoint ` +
			`→ 200 its body has the client's name as the partner saw it: CN=shop partner port 443, TLS 1\.3 for the ` +
			`name external\.system\.com client certificate CN=shop, issued by CN=Partner Client CA GET ` +
			`/secured-endpoint HTTP/1\.1, 0 bytes in plain text`,
		"without the annotation, plain text": `GET http://external\.system\.com/without-annotation → 200 partner port 80, ` +
			`PLAIN TEXT, [1-9][0-9]* bytes, no client certificate GET /without-annotation HTTP/1\.1`,
		"without the Secret, a Pod that waits": `MountVolume\.SetUp failed for volume ` +
			`"mtls-egress-external-system-com" : secret "external-system-mtls-data" not found egt SecretMissing: the ` +
			`Secret external-system-mtls-data doesn't exist in the namespace project-without-secret; create it with: ` +
			`kubectl create secret .* partner saw nothing: no connection, no byte 3\.`,
		"with the wrong name, a handshake that the sidecar ends": `GET http://other-name\.example\.org/wrong-name ` +
			`→ 503 from the sidecar\ssidecar response flag \S+: .*CERTIFICATE VERIFY FAILED.* partner port 443, TLS ` +
			`for the name other-name\.example\.org, ended in the handshake by the sidecar: remote error: tls: \S.* 0 ` +
			`requests, 0 bytes in plain text 4\.`,
		"the DestinationRule is protected": `\$ kubectl delete destinationrule mtls-egress-external\.system\.com -n ` +
			`project kubectl Error from server \(Forbidden\): .*ValidatingAdmissionPolicy`,
		"without the DestinationRule, 503": `/without-destination-rule → 503 from the sidecar\ssidecar response flag NC: ` +
			`\S.* partner saw nothing: no connection, no byte`,
		"without all objects, nothing": `/without-everything → no answer: the connection leads nowhere ` +
			`partner saw nothing: no connection, no byte`,
		"and repaired": `/repaired → 200 partner port 443, TLS 1\.3 for the name ` +
			`external\.system\.com client certificate CN=shop,`,
		"the sum": `partner [1-9][0-9]* connections, [1-9][0-9]* ` +
			`requests, 0 bytes in plain text Done in `,
	}
}

func TestTheDemoTellsItsStoryAndOpensAShell(t *testing.T) {
	if reason := cluster.Unavailable(); reason != "" {
		t.Skip(reason)
	}
	t.Setenv("TMPDIR", t.TempDir())
	var out strings.Builder
	if err := run(t.Context(), &out, strings.NewReader("kubectl get namespace project -o name\n")); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	joined := strings.Join(strings.Fields(out.String()), " ")
	for what, want := range essentials() {
		if !regexp.MustCompile(want).MatchString(joined) {
			t.Errorf("%s: the story doesn't match %s", what, want)
		}
	}
	if !strings.HasSuffix(out.String(), "namespace/project\n") {
		t.Error("the shell's command printed nothing")
	}
	for line := range strings.Lines(out.String()) {
		if length := len([]rune(strings.TrimSuffix(line, "\n"))); length > 110 {
			t.Errorf("a line of %d characters: %s", length, line)
		}
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
}
