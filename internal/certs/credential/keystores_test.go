package credential_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/golden"
)

// stored is a PKCS#12 file with the password to read it with.
type stored struct {
	content  []byte
	password string
}

// passwords are the passwords of the files in testdata/pkcs12.
func passwords(t testing.TB) map[string]string {
	t.Helper()
	known := map[string]string{
		"windows-certmgr-aes.p12": "password", "windows-azure-rc2.p12": "", "go-pkcs12-empty-password.p12": "",
		"go-pkcs12-aes128.p12": "rHyQTJsubhfxcpH5JttyilHE6BBsNoZp", "go-pkcs12-aes192.p12": "password",
		"pbmac1-short-key.p12": "realpassword",
	}
	for i := range 6 {
		known[fmt.Sprintf("rfc9579-a%d.p12", i+1)] = "1234"
	}
	list := string(must[[]byte](t)(os.ReadFile("testdata/keystores/passwords.txt")))
	for line := range strings.Lines(list) {
		name, password, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		known[name] = password
	}
	return known
}

// keyStores returns the files of all tools, and files that are made from them.
func keyStores(t testing.TB) map[string]stored {
	t.Helper()
	known := passwords(t)
	files := map[string]stored{}
	for _, folder := range []string{"keystores", "pkcs12"} {
		for _, path := range must[[]string](t)(filepath.Glob("testdata/" + folder + "/*.p12")) {
			password, listed := known[filepath.Base(path)]
			if !listed {
				password = "changeit"
			}
			files[filepath.Base(path)] = stored{must[[]byte](t)(os.ReadFile(path)), password}
		}
	}
	maps.Copy(files, builtStores(t))
	for _, name := range []string{"openssl-default.p12", "openssl-legacy.p12", "openssl-nomac.p12",
		"openssl-nomac-legacy.p12", "openssl-nomac-rc4.p12", "openssl-empty-password.p12", "keytool-nomac.p12",
		"keytool-default.p12", "openssl-plain.p12", "rfc9579-a1.p12"} {
		file := files[name]
		files[name+" with another password"] = stored{file.content, file.password + "x"}
		if file.password != "" {
			files[name+" without its password"] = stored{file.content, ""}
		}
	}
	file := files["openssl-default.p12"].content
	changed := func(at int) []byte {
		content := bytes.Clone(file)
		content[at] ^= 1
		return content
	}
	for name, content := range map[string][]byte{
		"with its last byte missing":           file[:len(file)-1],
		"with half of it missing":              file[:len(file)/2],
		"with a line break at its end":         append(bytes.Clone(file), '\n'),
		"with a changed byte in its content":   changed(len(file) / 2),
		"with a changed byte in its MAC":       changed(len(file) - 30),
		"with a changed byte in its structure": changed(8),
		"in text mode":                         bytes.ReplaceAll(file, []byte{'\n'}, []byte("\r\n")),
		"in UTF-8":                             []byte(strings.ToValidUTF8(string(file), "\uFFFD")),
	} {
		files["openssl-default.p12 "+name] = stored{content, "changeit"}
	}
	return files
}

// resultOf returns one line about a file: what was read, or the message of the refusal.
func resultOf(file stored) (line string, read bool) {
	bundle, err := credential.ReadPKCS12(file.content, file.password)
	if err != nil {
		return "refused: " + err.Error(), false
	}
	chain, err := credential.Arrange(bundle)
	if err != nil {
		return "refused: " + err.Error(), false
	}
	var subjects []string
	path := chain.Certificates
	if chain.Root != nil {
		path = append(slices.Clone(path), chain.Root)
	}
	for _, certificate := range path {
		subjects = append(subjects, credential.DistinguishedName(certificate.RawSubject))
	}
	lines := []string{"read: " + strings.Join(subjects, " < ")}
	for _, finding := range append(bundle.Findings, credential.Review(chain, credential.Authorities{}, future())...) {
		if slices.Contains([]credential.Reason{credential.CertificateUnreadable, credential.SeveralCertificates,
			credential.CertificateUnrelated}, finding.Reason) {
			lines = append(lines, fmt.Sprintf("    %s: %s", finding.Reason, finding.Message))
		}
	}
	return strings.Join(lines, "\n"), true
}

// future is after the day on which the files were made.
func future() time.Time { return now().AddDate(1, 0, 0) }

// TestKeyStoresOfAllTools compares what is read of each file, or why it is refused, with the golden
// file.
func TestKeyStoresOfAllTools(t *testing.T) {
	files := keyStores(t)
	var out strings.Builder
	counts := map[bool]int{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		line, read := resultOf(files[name])
		counts[read]++
		if !read {
			checkMessage(t, line)
		}
		if secret := files[name].password; len(secret) > 4 && secret != "changeit" && strings.Contains(line, secret) {
			t.Errorf("%s: the password is in the message: %s", name, line)
		}
		fmt.Fprintf(&out, "%s\n  %s\n", name, line)
	}
	t.Logf("%d files read, %d refused", counts[true], counts[false])
	if counts[true] < 60 || counts[false] < 60 {
		t.Errorf("%d files read and %d refused, want 60 of each at least", counts[true], counts[false])
	}
	golden.Compare(t, "testdata/keystores.golden.txt", []byte(out.String()))
}

// TestTransportIsBlamedForLengthsAlone checks that only files of another length than their header
// says are told to be downloaded again.
func TestTransportIsBlamedForLengthsAlone(t *testing.T) {
	for name, file := range keyStores(t) {
		line, _ := resultOf(file)
		blamed := strings.Contains(line, "download") || strings.Contains(line, "transit") ||
			strings.Contains(line, "damaged") || strings.Contains(line, "corrupted")
		length := strings.Contains(name, "missing") || strings.Contains(name, "line break") ||
			strings.Contains(name, "text mode")
		if blamed != length {
			t.Errorf("%s: %s", name, line)
		}
	}
}

// TestOpenSSLReadsTheSameKeyStores compares with what openssl reads, with and without its legacy
// provider. Each difference is in the golden file, with its reason.
func TestOpenSSLReadsTheSameKeyStores(t *testing.T) {
	if output, _ := openssl(t, "version"); !strings.HasPrefix(output, "OpenSSL 3.0.") {
		t.Skipf("the differences are those of OpenSSL 3.0, and this is %s", output)
	}
	files := keyStores(t)
	maps.Copy(files, mutations(files))
	var out strings.Builder
	agree, differ := 0, 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.Contains(name, "too many iterations") {
			// OpenSSL has no limit, and would take hours.
			continue
		}
		ours, read := resultOf(files[name])
		theirs := opened(t, files[name])
		if read == theirs {
			agree++
			continue
		}
		differ++
		why := reason(name, ours)
		if why == "" {
			t.Errorf("a difference without a reason: %s\n%s\nopenssl reads it: %t", name, ours, theirs)
		}
		fmt.Fprintf(&out, "%s\n  here: %s\n  openssl reads it: %t, because %s\n", name,
			cmp.Or(strings.SplitN(ours, ": ",
				2)[0]), theirs, why)
	}
	t.Logf("of %d files, both read or refuse %d, and differ in %d", agree+differ, agree, differ)
	golden.Compare(t, "testdata/openssl.golden.txt", []byte(out.String()))
}

// opened reports whether openssl reads a key and a certificate from a file.
func opened(t *testing.T, file stored) bool {
	t.Helper()
	path := write(t, "store.p12", file.content)
	// With -legacy, openssl has the algorithms of both providers.
	output, ok := openssl(t, "pkcs12", "-legacy", "-in", path, "-nodes", "-passin", "pass:"+file.password)
	return ok && strings.Contains(output, "PRIVATE KEY-----") && strings.Contains(output, "-----BEGIN CERTIFICATE")
}

// mutations are files with a changed byte. Those without a MAC show how a change is read.
func mutations(files map[string]stored) map[string]stored {
	mutated := map[string]stored{}
	for name, step := range map[string]int{"openssl-nomac-plain.p12": 13, "openssl-nomac.p12": 41,
		"openssl-default.p12": 41} {
		for at := 2; at < len(files[name].content); at += step {
			content := bytes.Clone(files[name].content)
			content[at] ^= 1 << (at % 8)
			mutated[fmt.Sprintf("%s with byte %d changed", name, at)] = stored{content, files[name].password}
		}
	}
	return mutated
}

// reason returns why OpenSSL differs, or "" if nobody explained it.
func reason(name, ours string) string {
	const (
		noSidecar = "OpenSSL reads keys that no sidecar can use"
		lazy      = "OpenSSL prints a certificate without parsing all of it"
		strict    = "OpenSSL refuses the file for a malformed part of any certificate; here that certificate is " +
			"omitted with a warning, or the part is not used"
	)
	if strings.HasPrefix(ours, "read: ") && (strings.Contains(name, "changed") || strings.Contains(ours, "x509: ")) {
		return strict
	}
	for _, known := range [][2]string{
		{"PBMAC1", "OpenSSL reads PBMAC1 from 3.4 on"},
		{"rfc9579", "OpenSSL reads PBMAC1 from 3.4 on"},
		{"for a recipient", "OpenSSL parses the content for the recipient, which this test leaves empty"},
		{"no MAC, an empty password of no bytes",
			"without a MAC, OpenSSL tries only the two zeros of an empty password"},
		{"limit for a chain", "OpenSSL has no limit"},
		{"more than 1000", "OpenSSL has no limit"},
		{"nested more than", "OpenSSL has no limit"},
		{"different private keys", "OpenSSL prints all keys, and nothing tells which one is meant"},
		{"uses the cipher",
			"the cipher is one that current tools don't write, and the message has the command for OpenSSL"},
		{"uses the key derivation",
			"the key derivation is one that current tools don't write, and the message has the " +
				"command for OpenSSL"},
		{"uses a MAC with",
			"the digest is one that current tools don't write, and the message has the command for OpenSSL"},
		{"sidecar can't read", noSidecar},
		{"the sidecar don", noSidecar},
		{"sidecar doesn't support", noSidecar},
		{"key agreement only", noSidecar},
		{"in place of the name of its curve", noSidecar},
		{"extra byte", "OpenSSL ignores what follows the file"},
		{"no certificate matches", "OpenSSL doesn't compare the key with the certificates"},
		{"x509: ", lazy},
	} {
		if strings.Contains(name, known[0]) || strings.Contains(ours, known[0]) {
			return known[1]
		}
	}
	return ""
}
