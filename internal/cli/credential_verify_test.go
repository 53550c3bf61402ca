package cli

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"mtls.egress/webhook/internal/verify"
	"mtls.egress/webhook/test/pki"
)

// TestVerifyTellsWhatThePartnerAnswers runs servers that take the credential or don't.
func TestVerifyTellsWhatThePartnerAnswers(t *testing.T) {
	store := newKeyStore(t)
	root := pki.NewCA(t, "Another Root")
	serverTemplate := pki.Server(partnerHost)
	server := store.server.Issue(t, serverTemplate)
	expired := pki.Client("orders")
	expired.NotAfter = pki.Epoch().AddDate(1, 0, 0)
	old := store.issuing.Issue(t, expired)
	file, err := pkcs12.Modern2023.Encode(old.Key, old.Certificate, []*x509.Certificate{store.issuing.Certificate},
		keyStorePassword)
	if err != nil {
		t.Fatal(err)
	}
	write(t, store.path("expired.p12"), string(file))
	write(t, store.path("client.pem"), string(store.client.CertPEM)+string(store.issuing.CertPEM))
	write(t, store.path("client.key"), string(store.client.KeyPEM))
	password := store.path("password.txt")
	p12 := func(f *verifyFlags) {
		f.p12, f.passwordFile, f.serverCA = store.path("keystore.p12"), password, store.path("server-ca.pem")
	}
	var text strings.Builder
	for _, test := range []struct {
		sentence string
		clients  *pki.CA
		server   pki.Pair
		change   func(*verifyFlags)
		// presented is the number of certificates that the server gets.
		presented int
	}{
		{"the partner takes it", store.issuing, server, p12, 2},
		{"a certificate and a key", store.issuing, server, func(f *verifyFlags) {
			f.certificate, f.key, f.serverCA = store.path("client.pem"), store.path("client.key"), store.path("server-ca.pem")
		}, 2},
		{"as JSON", store.issuing, server, func(f *verifyFlags) { p12(f); f.output = outputJSON }, 2},
		{"the partner doesn't know its issuer", root, server, p12, -1},
		{"the partner asks for none", nil, server, p12, 0},
		{"the partner is not trusted", store.issuing, root.Issue(t, serverTemplate), p12, -1},
		{"the partner is not trusted by this machine", store.issuing, server,
			func(f *verifyFlags) { p12(f); f.serverCA = "" }, -1},
		{"the partner has another name", store.issuing, store.server.Issue(t, pki.Server("other.example")), p12, -1},
		{"another name is expected", store.issuing, store.server.Issue(t, pki.Server("other.example")),
			func(f *verifyFlags) { p12(f); f.subjectAltNames = []string{"other.example"} }, 2},
		{"the credential expired", store.issuing, server,
			func(f *verifyFlags) { p12(f); f.p12 = store.path("expired.p12") }, -2},
	} {
		address, visits := partner(t, test.clients, test.server)
		flags := &verifyFlags{output: outputText, targetHost: partnerHost}
		flags.connect = address
		test.change(flags)
		var out bytes.Buffer
		err := runVerify(t.Context(), strings.NewReader(""), &out, &out, "", flags, partnerNow())
		if err != nil {
			fmt.Fprintf(&out, "error: %v\n", err)
		}
		fmt.Fprintf(&text, "### %s\n%sexit code %d\n\n", test.sentence, stable(out.String(), store.dir), ExitCode(err))
		if test.presented == -2 {
			continue // It is not presented to anybody.
		}
		want := visit{certificates: max(test.presented, 0)}
		if diff := cmp.Diff(want, <-visits, cmp.AllowUnexported(visit{})); diff != "" {
			t.Errorf("%s: the server got something else (-want +got):\n%s", test.sentence, diff)
		}
	}
	compareWithGolden(t, "credential-verify", text.String())
}

func TestTheStatusIsThatOfTheCondition(t *testing.T) {
	for reason, want := range map[verify.Reason]string{
		verify.Verified: "Verified:   True\n", verify.IssuerNotNamed: "Verified:   Unknown\n",
		verify.IssuerNotAccepted: "Verified:   False\n",
	} {
		result := trialResult{Verified: reason == verify.Verified, Reason: string(reason)}
		if got := result.text(); !strings.Contains(got, want) {
			t.Errorf("%s: %q lacks %q", reason, got, want)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	store := newKeyStore(t)
	write(t, store.path("wrong.txt"), "wrong")
	target := []string{"--target", partnerHost}
	p12 := []string{"--p12", store.path("keystore.p12")}
	const one = "pass one credential: --p12 FILE, --cert FILE with --key FILE, secret/NAME or egt/HOST"
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing": {nil, ExitUnable, one + "\n--target is missing: set it to the host of the partner, for example " +
			"external.system.com"},
		"two credentials": {slices.Concat(p12, target, []string{"secret/a"}), ExitUnable, one},
		"a certificate without key": {
			append([]string{"--cert", "a"}, target...), ExitUnable, "--cert and --key belong together: pass both",
		},
		"a file as an argument": {
			append([]string{"keystore.p12"}, target...), ExitUnable,
			"keystore.p12 is neither secret/NAME nor egt/HOST; for a file, set --p12",
		},
		"an EgressTarget and its host": {
			append([]string{"egt/a.example"}, target...), ExitUnable,
			"--target, --server-ca, --sni and --subject-alt-name come from the EgressTarget: omit them",
		},
		"an invalid name of an EgressTarget": {[]string{"egt/a"}, ExitUnable, "egt/a has only one label"},
		"an invalid name of a Secret": {
			append([]string{"secret/A"}, target...), ExitUnable, "secret/A is not a valid Secret name: ",
		},
		"a namespace for a file": {
			slices.Concat(p12, target, []string{"-n", "a"}), ExitUnable,
			"--namespace, --kubeconfig and --context require a credential in the cluster, written as secret/NAME or egt/HOST",
		},
		"a wrong password": {
			slices.Concat(p12, target, []string{"--password-file", store.path("wrong.txt")}), ExitNotFine,
			store.path("keystore.p12") + ": the password is wrong",
		},
		"no password": {
			slices.Concat(p12, target), ExitUnable,
			store.path("keystore.p12") + ": the file has a password, and none was given",
		},
		"a file that isn't there": {
			slices.Concat([]string{"--p12", filepath.Join(store.dir, "none")}, target), ExitUnable,
			"--p12: open " + filepath.Join(store.dir, "none") + ": no such file or directory",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := executeCredential("", append([]string{"verify"}, test.args...)...)
			if !strings.HasPrefix(stderr, test.want) || code != test.code || stdout != "" {
				t.Errorf("exit code %d, standard output %q, error\n%s\nwant\n%s", code, stdout, stderr, test.want)
			}
		})
	}
}
