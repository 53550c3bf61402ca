package verify_test

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/verify"
	"mtls.egress/webhook/test/pki"
)

// opensslServer runs openssl s_server for one connection, or skips the test if there is no openssl
// command. finished returns its output, which includes received data.
func opensslServer(t *testing.T, server pki.Pair, args ...string) (address net.Addr, finished func() string) {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("needs the openssl command to talk to")
	}
	args = append([]string{
		"s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-attime", strconv.FormatInt(now().Unix(), 10),
		"-cert", write(t, "server.pem", server.CertPEM), "-key", write(t, "server.key", server.KeyPEM),
	}, args...)
	command := exec.CommandContext(t.Context(), program, args...)
	// The server exits at the end of its standard input.
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = command.Stdout
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = input.Close() })
	lines := bufio.NewScanner(output)
	var printed []string
	for lines.Scan() {
		printed = append(printed, lines.Text())
		if listening, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			address, err = net.ResolveTCPAddr("tcp", listening)
			if err != nil {
				t.Fatal(err)
			}
			return address, func() string {
				for lines.Scan() {
					printed = append(printed, lines.Text())
				}
				// It exits with 1 after a failed handshake.
				_ = command.Wait()
				return strings.Join(printed, "\n")
			}
		}
	}
	t.Fatalf("openssl does not listen:\n%s", strings.Join(printed, "\n"))
	return nil, nil
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVerdictOfServersOfOpenSSL(t *testing.T) {
	p := newParties(t)
	other := pki.NewCA(t, "Other CA")
	expired := pki.Server(host)
	expired.NotAfter = now().AddDate(0, 0, -3)
	ca, otherCA := write(t, "client-ca.pem", p.clientCA.CertPEM), write(t, "other-ca.pem", other.CertPEM)
	required := []string{"-Verify", "3", "-verify_return_error"}
	with := func(args ...string) []string { return slices.Concat(required, args) }
	accepted := func(version, cas string) verify.Outcome {
		return verify.Outcome{
			Verified: true, Reason: verify.Verified,
			Message: "the server at ADDRESS asked for a client certificate and accepted ours; " + own + version + ends + "; " +
				cas,
		}
	}
	const (
		none     = "it names no acceptable CAs"
		withheld = "; it asks for a client certificate, but got none because it is not trusted; " + only
		unknown  = "48 (unknown certificate authority): the partner must trust its issuer, and the " +
			"chain in the Secret must be complete; "
		foreign = `our issuer ("CN=Client CA") is not among the CAs that it names ("CN=Other CA")`
	)

	tests := map[string]struct {
		server   pki.Pair
		args     []string
		patience time.Duration
		want     verify.Outcome
	}{
		"TLS 1.3": {args: with("-CAfile", ca, "-tls1_3"), want: accepted("TLS 1.3", only)},
		"TLS 1.2": {args: with("-CAfile", ca, "-tls1_2"), want: accepted("TLS 1.2", only)},
		"TLS 1.3 without tickets": {
			args: with("-CAfile", ca, "-tls1_3", "-num_tickets", "0"), patience: 500 * time.Millisecond,
			want: verify.Outcome{
				Verified: true,
				Reason:   verify.Verified,
				Message: "the server at ADDRESS asked for a client certificate and did not refuse ours " +
					"within 500ms; " + own + "TLS 1.3" + ends + "; " + only,
			},
		},
		"any certificate in TLS 1.3, refused later if at all": {
			args: []string{"-Verify", "3", "-tls1_3"}, want: accepted("TLS 1.3", none),
		},
		"any certificate in TLS 1.2, refused later if at all": {
			args: []string{"-Verify", "3", "-tls1_2"}, want: accepted("TLS 1.2", none),
		},
		"optional in TLS 1.3": {args: []string{"-verify", "3", "-CAfile", ca, "-tls1_3"}, want: accepted("TLS 1.3", only)},
		"without a CA in TLS 1.3": {
			args: with("-tls1_3"),
			want: verify.Outcome{
				Reason:  verify.ClientCertificateRefused,
				Message: refused + unknown + none + "; TLS 1.3" + ends,
			},
		},
		"without a CA in TLS 1.2": {
			args: with("-tls1_2"),
			want: verify.Outcome{
				Reason:  verify.ClientCertificateRefused,
				Message: refused + unknown + none + "; TLS 1.2" + ends,
			},
		},
		"another CA in TLS 1.3": {
			args: with("-CAfile", otherCA, "-tls1_3"),
			want: verify.Outcome{Reason: verify.IssuerNotAccepted, Message: refused + unknown + foreign + "; TLS 1.3" + ends},
		},
		"another CA in TLS 1.2": {
			args: with("-CAfile", otherCA, "-tls1_2"),
			want: verify.Outcome{Reason: verify.IssuerNotAccepted, Message: refused + unknown + foreign + "; TLS 1.2" + ends},
		},
		"no client certificate requested": {
			args: []string{"-tls1_3"},
			want: verify.Outcome{
				Reason: verify.ClientCertificateNotRequested,
				Message: "the server at ADDRESS did not request a client certificate in the handshake, so ours was not used: " +
					"this host or port is not configured for mutual TLS, or requests a certificate only for certain paths, by " +
					"renegotiation or after the handshake, which the sidecar does not support",
			},
		},
		"signatures of RSA only, in TLS 1.3": {
			args: with("-CAfile", ca, "-tls1_3", "-client_sigalgs", "RSA-PSS+SHA256:RSA-PSS+SHA384"),
			want: verify.Outcome{
				Reason: verify.KeyTypeNotAccepted,
				Message: `the server at ADDRESS accepts no signature scheme of our key, only "PSSWithSHA256", "PSSWithSHA384": ` +
					`ask for a certificate with a key of that type`,
			},
		},
		"signatures of RSA only, in TLS 1.2": {
			args: with("-CAfile", ca, "-tls1_2", "-client_sigalgs", "RSA-PSS+SHA256"),
			want: verify.Outcome{
				Reason: verify.KeyTypeNotAccepted,
				Message: `the server at ADDRESS accepts no signature scheme of our key, only "PSSWithSHA256": ask for a ` +
					`certificate with a key of that type`,
			},
		},
		"an expired server certificate": {
			server: p.serverCA.Issue(t, expired), args: with("-CAfile", ca, "-tls1_3"),
			want: verify.Outcome{
				Reason: verify.ServerCertificateExpired,
				Message: `the server's certificate (subject "") expired on 2026-06-28T12:00:00Z: the partner must renew it` +
					withheld,
			},
		},
		"a server certificate for another name, in TLS 1.2": {
			server: p.serverCA.Issue(t, pki.Server("another.example.com")), args: with("-CAfile", ca, "-tls1_2"),
			want: verify.Outcome{
				Reason: verify.ServerNameMismatch,
				Message: `the server's certificate is for "another.example.com", but must be for "external.system.com": another ` +
					`server answers there, ` +
					"or the EgressTarget must list its name in subjectAltNames" + withheld,
			},
		},
		"HTTP/2 alone": {args: with("-CAfile", ca, "-alpn", "h2"), want: accepted("TLS 1.3", only)},
		"neither HTTP version": {
			args: with("-CAfile", ca, "-alpn", "acme-tls/1"),
			want: verify.Outcome{
				Reason: verify.ProtocolNotSpoken,
				Message: `the server at ADDRESS speaks neither HTTP/2 nor HTTP/1.1: the alert 120 (no application ` +
					`protocol); set port of the EgressTarget to that of the partner's HTTP service`,
			},
		},
		"an SNI that it does not know": {
			args: with(
				"-CAfile",
				ca,
				"-servername",
				"known.example.com",
				"-servername_fatal",
				"-cert2",
				write(t, "2.pem", p.server.CertPEM),
				"-key2",
				write(t, "2.key", p.server.KeyPEM),
			),
			want: verify.Outcome{
				Reason: verify.ServerNameUnknown,
				Message: `the server at ADDRESS doesn't know the name "external.system.com": the alert 112 (unrecognized name); ` +
					`set another name in spec.sni of the EgressTarget`,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := test.server
			if server.Certificate == nil {
				server = p.server
			}
			address, finished := opensslServer(t, server, test.args...)
			probing := prober()
			if test.patience > 0 {
				probing.Patience = test.patience
			}
			if diff := cmp.Diff(test.want, outcome(probing.Probe(t.Context(), p.request(t, address)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			// Received data and connection errors would be between these lines.
			printed := finished()
			if _, after, ok := strings.Cut(printed, "Secure Renegotiation IS "); ok &&
				!regexp.MustCompile(`^(NOT )?supported\nDONE\n`).MatchString(after) {
				t.Errorf("the server did not see a handshake and its end alone:\n%s", printed)
			} else if !ok && test.want.Verified {
				t.Errorf("the server has finished no handshake:\n%s", printed)
			}
		})
	}
}
