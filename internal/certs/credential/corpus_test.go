package credential_test

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/golden"
	"mtls.egress/webhook/test/marked"
	"mtls.egress/webhook/test/pki"
)

const corpusSize = 500

// class is a kind of chain in the corpus. Its chains differ in the key types, in the number of
// intermediates, and in whether they contain the root.
type class struct {
	// depths are the numbers of intermediates; default: 1 and 2.
	depths []int
	// root defines whether the file contains the root: [always], [never], or sometimes, which is the
	// default.
	root presence
	// rsa reports whether all keys are RSA keys.
	rsa bool
	// leaf, issuing and anchor change the client certificate, the intermediate that signed it, and the
	// root.
	leaf, issuing, anchor func(*pki.Template)
	// file changes the certificates in the file: the leaf, the intermediates, the root.
	file func(*made)
	// key changes the private key in PEM.
	key func(*made)
}

type presence int

const (
	sometimes presence = iota
	always
	never
)

// made is one chain of the corpus.
type made struct {
	corpus *corpus
	// line contains the CAs, the root first.
	line         []*pki.CA
	certificates []*x509.Certificate
	leaf         pki.Pair
	keyPEM       []byte
	// trusted is the root that OpenSSL trusts.
	trusted *x509.Certificate
}

// corpus generates chains from a seed. There are few keys, because generating them takes the
// longest. They are random, but no comparison depends on them.
type corpus struct {
	t    *testing.T
	draw *rand.Rand
	keys map[string]crypto.Signer
	// alien and server are unrelated to the partner's clients. server signs the server certificate.
	alien, server *pki.CA
}

func newCorpus(t *testing.T) *corpus {
	t.Helper()
	keys := map[string]crypto.Signer{}
	for name, bits := range map[string]int{"short": 1024, "rsa": 2048, "rsa-other": 2048, "rsa-0": 2048, "rsa-1": 2048,
		"rsa-2": 2048} {
		keys[name] = must[*rsa.PrivateKey](t)(rsa.GenerateKey(cryptorand.Reader, bits))
	}
	for name, curve := range map[string]elliptic.Curve{
		"p224":        elliptic.P224(),
		"p256":        elliptic.P256(),
		"p384":        elliptic.P384(),
		"ecdsa-other": elliptic.P256(),
		"ecdsa-0":     elliptic.P256(),
		"ecdsa-1":     elliptic.P256(),
		"ecdsa-2":     elliptic.P256(),
	} {
		keys[name] = must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(curve, cryptorand.Reader))
	}
	_, ed, err := ed25519.GenerateKey(cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys["ed25519"] = ed
	return &corpus{
		t:      t,
		draw:   rand.New(rand.NewPCG(2026, 7)),
		keys:   keys,
		alien:  pki.NewCA(t, "Stranger"),
		server: pki.NewCA(t, "Server CA"),
	}
}

// pick returns a random value.
func pick[T any](c *corpus, values ...T) T { return values[c.draw.IntN(len(values))] }

// make generates a chain of a class.
func (c *corpus) make(kind class) *made {
	c.t.Helper()
	depths := kind.depths
	if depths == nil {
		depths = []int{1, 2}
	}
	depth := pick(c, depths...)
	key, authorityKey := pick(c, "rsa", "p256", "p384"), pick(c, "rsa", "ecdsa")
	if kind.rsa {
		key, authorityKey = "rsa", "rsa"
	}
	behind := kind.root == always || kind.root == sometimes && c.draw.IntN(3) == 0

	m := &made{corpus: c}
	anchor := c.authority("Partner Root", authorityKey+"-0")
	if kind.anchor != nil {
		kind.anchor(&anchor)
	}
	m.line = append(m.line, pki.SelfSigned(c.t, anchor))
	for level := range depth {
		template := c.authority(fmt.Sprintf("Partner Intermediate %d", level+1),
			fmt.Sprintf("%s-%d", authorityKey, level+1))
		if kind.issuing != nil && level == depth-1 {
			kind.issuing(&template)
		}
		m.line = append(m.line, &pki.CA{Pair: m.line[level].Issue(c.t, template)})
	}
	template := pki.Client("orders")
	template.DNSNames, template.Key = []string{"orders.example.com"}, c.keys[key]
	if kind.leaf != nil {
		kind.leaf(&template)
	}
	m.leaf = m.line[depth].Issue(c.t, template)
	m.keyPEM, m.trusted = m.leaf.KeyPEM, m.line[0].Certificate
	m.certificates = []*x509.Certificate{m.leaf.Certificate}
	for _, authority := range slices.Backward(m.line) {
		if authority != m.line[0] || behind {
			m.certificates = append(m.certificates, authority.Certificate)
		}
	}
	if kind.file != nil {
		kind.file(m)
	}
	if kind.key != nil {
		kind.key(m)
	}
	return m
}

func (c *corpus) authority(name, key string) pki.Template {
	return pki.Template{
		Subject:  pkix.Name{CommonName: name},
		IsCA:     true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		Key:      c.keys[key],
	}
}

// days returns a random duration of at least one day.
func (c *corpus) days() time.Duration { return time.Duration(1+c.draw.IntN(1000)) * 24 * time.Hour }

// classes returns all kinds of chains by their name in the table.
func (c *corpus) classes() map[string]class {
	expired := func(t *pki.Template) {
		t.NotAfter = now().Add(-c.days())
		t.NotBefore = t.NotAfter.Add(-c.days())
	}
	early := func(t *pki.Template) { t.NotBefore = now().Add(c.days()) }
	usages := func(usages ...x509.ExtKeyUsage) func(*pki.Template) {
		return func(t *pki.Template) { t.ExtKeyUsage = usages }
	}
	usage := func(usage x509.KeyUsage) func(*pki.Template) {
		return func(t *pki.Template) { t.KeyUsage = usage }
	}
	extended := func(critical bool, value any, oid ...int) func(*pki.Template) {
		der := must[[]byte](c.t)(asn1.Marshal(value))
		return func(t *pki.Template) {
			t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: oid, Critical: critical, Value: der})
		}
	}
	netscape := func(bits byte) func(*pki.Template) {
		return extended(false, asn1.BitString{Bytes: []byte{bits}, BitLength: 8}, 2, 16, 840, 1, 113730, 1, 1)
	}
	type basicConstraints struct {
		IsCA       bool
		PathLength int
	}
	type generalSubtree struct {
		DNSName string `asn1:"tag:2,ia5"`
	}
	type nameConstraints struct {
		Permitted []generalSubtree `asn1:"tag:0"`
	}
	sha1 := func(t *pki.Template) { t.SignatureAlgorithm = x509.SHA1WithRSA }
	keyed := func(name string) func(*pki.Template) { return func(t *pki.Template) { t.Key = c.keys[name] } }
	without := func(level int) func(*made) {
		return func(m *made) {
			m.certificates = slices.DeleteFunc(m.certificates, m.line[level].Certificate.Equal)
		}
	}
	selfSigned := func(m *made) {
		template := pki.Client("orders")
		template.DNSNames, template.Key = []string{"orders.example.com"}, m.leaf.Key
		m.certificates = []*x509.Certificate{pki.SelfSigned(c.t, template).Certificate}
	}
	rootAlone := []int{0}

	return map[string]class{
		"whole, in order":                         {},
		"whole, with the root":                    {root: always},
		"signed by the root, which is at the end": {depths: rootAlone, root: always},
		"signed by the root, alone":               {depths: rootAlone, root: never},
		"an Ed25519 key":                          {leaf: keyed("ed25519")},
		"no usages at all": {
			leaf: func(t *pki.Template) { t.KeyUsage, t.ExtKeyUsage = 0, nil },
		},
		"clientAuth among other purposes": {
			leaf: usages(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth),
		},
		"no subject alternative name": {leaf: func(t *pki.Template) { t.DNSNames = nil }},
		"an unrelated certificate at the end": {
			file: func(m *made) { m.certificates = append(m.certificates, c.alien.Certificate) },
		},
		"an unrelated certificate behind the leaf": {
			file: func(m *made) { m.certificates = slices.Insert(m.certificates, 1, c.alien.Certificate) },
		},
		"the CA of the server at the end": {
			file: func(m *made) { m.certificates = append(m.certificates, c.server.Certificate) },
		},
		"the leaf twice": {
			file: func(m *made) { m.certificates = slices.Insert(m.certificates, 1, m.leaf.Certificate) },
		},
		"a root that an older root signed, which the partner trusts": {root: never, file: func(m *made) {
			older := pki.NewCA(c.t, "Older Root")
			crossed := c.authority("Partner Root", "")
			crossed.Key = m.line[0].Key
			m.certificates, m.trusted = append(m.certificates, older.Issue(c.t, crossed).Certificate), older.Certificate
		}},

		"intermediates in reverse order": {
			depths: []int{2},
			file:   func(m *made) { slices.Reverse(m.certificates[1:3]) },
		},
		"the leaf last": {
			depths: []int{0, 1, 2},
			root:   always,
			file:   func(m *made) { slices.Reverse(m.certificates) },
		},
		"the issuing intermediate missing": {file: func(m *made) { without(len(m.line) - 1)(m) }},
		"the upper intermediate missing":   {depths: []int{2}, file: without(1)},
		"an intermediate of that name, with another key": {file: func(m *made) {
			at := len(m.line) - 1
			namesake := m.line[at-1].Issue(c.t, c.authority(m.line[at].Certificate.Subject.CommonName, "ecdsa-other"))
			m.certificates[1] = namesake.Certificate
		}},
		"a signature that was tampered with": {file: func(m *made) {
			der := bytes.Replace(m.leaf.Certificate.Raw, []byte("orders.example.com"), []byte("Orders.example.com"), 1)
			m.certificates[0] = must[*x509.Certificate](c.t)(x509.ParseCertificate(der))
		}},

		"expired":             {leaf: expired},
		"not yet valid":       {leaf: early},
		"in the last second":  {leaf: func(t *pki.Template) { t.NotAfter = now() }},
		"in the first second": {leaf: func(t *pki.Template) { t.NotBefore = now() }},
		"within its last 30 days": {
			leaf: func(t *pki.Template) { t.NotAfter = now().Add(time.Duration(1+c.draw.IntN(29)) * 24 * time.Hour) },
		},
		"an intermediate expired":           {issuing: expired},
		"an intermediate not yet valid":     {issuing: early},
		"the root expired, in the file":     {root: always, anchor: expired},
		"the root expired, not in the file": {root: never, anchor: expired},

		"for servers only":          {leaf: usages(x509.ExtKeyUsageServerAuth)},
		"for mail only":             {leaf: usages(x509.ExtKeyUsageEmailProtection)},
		"for any purpose":           {leaf: usages(x509.ExtKeyUsageAny)},
		"key usage keyEncipherment": {leaf: usage(x509.KeyUsageKeyEncipherment)},
		"key usage keyAgreement":    {leaf: usage(x509.KeyUsageKeyAgreement)},
		"Netscape type SSL server":  {leaf: netscape(0x40)},
		"Netscape type SSL client":  {leaf: netscape(0x80)},
		"an authority that signs only": {
			leaf: func(t *pki.Template) { t.IsCA, t.KeyUsage = true, x509.KeyUsageCertSign },
		},
		"a critical extension nobody knows": {leaf: extended(true, "x", 1, 2, 3, 4)},
		"an intermediate for servers only":  {issuing: usages(x509.ExtKeyUsageServerAuth)},
		"an intermediate that is not a CA": {
			issuing: func(t *pki.Template) { t.IsCA, t.KeyUsage = false, x509.KeyUsageDigitalSignature },
		},
		"an intermediate that may not sign": {issuing: usage(x509.KeyUsageDigitalSignature)},
		"an intermediate too deep for the path length": {
			depths: []int{2},
			anchor: extended(true, basicConstraints{true, 0}, 2, 5, 29, 19),
		},
		"an intermediate for other names": {
			issuing: extended(true, nameConstraints{[]generalSubtree{{"example.org"}}}, 2, 5, 29, 30),
		},
		"self-signed": {root: never, file: selfSigned},
		"self-signed, and the partner has it": {
			root: never,
			file: func(m *made) { selfSigned(m); m.trusted = m.certificates[0] },
		},

		"RSA of 1024 bits":                    {leaf: keyed("short")},
		"ECDSA on P-224":                      {leaf: keyed("p224")},
		"an intermediate of RSA of 1024 bits": {issuing: keyed("short")},
		"signed with SHA-1":                   {rsa: true, leaf: sha1},
		"an intermediate signed with SHA-1":   {rsa: true, issuing: sha1},

		"another key of the same type": {
			leaf: keyed("p256"),
			key:  func(m *made) { m.keyPEM = c.keyPEM("ecdsa-other") },
		},
		"a key of another type": {leaf: keyed("p256"), key: func(m *made) { m.keyPEM = c.keyPEM("rsa-other") }},
		"the key of the issuer": {
			leaf: keyed("rsa"),
			key:  func(m *made) { m.keyPEM = m.line[len(m.line)-1].KeyPEM },
		},
		"a key that is cut off": {key: func(m *made) { m.keyPEM = m.keyPEM[:len(m.keyPEM)/2] }},
		"expired, and another key": {
			leaf: func(t *pki.Template) { expired(t); keyed("p256")(t) },
			key:  func(m *made) { m.keyPEM = c.keyPEM("ecdsa-other") },
		},
	}
}

func (c *corpus) keyPEM(name string) []byte {
	return block("PRIVATE KEY", must[[]byte](c.t)(x509.MarshalPKCS8PrivateKey(c.keys[name])))
}

// outcome is a row of the table: the results for a class of chains, from this package and from
// OpenSSL.
type outcome struct{ class, ours, theirs string }

// accepts reports for both sides whether they accept the credential.
func accepts(verdict string) bool { return strings.HasPrefix(verdict, "accepted") }

// differences contains the outcomes in which only one side accepts the credential, with the reason
// why ours is right.
func differences() map[outcome]string {
	const (
		issuerUnknown = "the partner may have the missing certificate, as it has the root; many " +
			"haven't, so there is a warning"
		notSeen = "that a certificate is missing can't be seen: the last one's issuer may as well be the root, " +
			"which stays out of a chain"
		notAnIssuer = "what hasn't signed, or may not, counts as an issuer that isn't there, and that is a " +
			"warning, as the partner may have the right one"
		outOfTime  = "the partner may have today's certificate of that authority; the warning says to ask for it"
		partnersCA = "what an authority may sign is between it and the partner, who took it for its clients"
	)
	return map[outcome]string{
		{"a critical extension nobody knows", "accepted",
			"refused: UNHANDLED_CRITICAL_EXTENSION"}: "a partner whose own authority writes the extension knows it",
		{"a signature that was tampered with", "accepted, with ChainIncomplete",
			"refused: CERT_SIGNATURE_FAILURE"}: "issuers are searched by their signatures, " +
			"so a damaged one looks like an issuer that isn't there, and gives the warning",
		{"an intermediate expired", "accepted, with IntermediateExpired",
			"refused: CERT_HAS_EXPIRED"}: outOfTime,
		{"an intermediate not yet valid", "accepted, with IntermediateExpired",
			"refused: CERT_NOT_YET_VALID"}: outOfTime,
		{"an intermediate for other names", "accepted",
			"refused: PERMITTED_VIOLATION"}: partnersCA,
		{"an intermediate for servers only", "accepted",
			"refused: INVALID_PURPOSE"}: partnersCA,
		{"an intermediate too deep for the path length", "accepted",
			"refused: PATH_LENGTH_EXCEEDED"}: partnersCA,
		{"an intermediate of that name, with another key", "accepted, with ChainIncomplete",
			"refused: UNABLE_TO_GET_ISSUER_CERT_LOCALLY"}: notAnIssuer,
		{"an intermediate that is not a CA", "accepted, with ChainIncomplete", "refused: INVALID_CA, " +
			"INVALID_PURPOSE, KEYUSAGE_NO_CERTSIGN"}: notAnIssuer,
		{"an intermediate that may not sign", "accepted, with ChainIncomplete", "refused: INVALID_CA, " +
			"INVALID_PURPOSE, KEYUSAGE_NO_CERTSIGN"}: notAnIssuer,
		{"for any purpose", "accepted",
			"refused: INVALID_PURPOSE"}: "RFC 5280 §4.2.1.12 lets it stand for every " +
			"purpose, and servers in Go and Java take it",
		{"in the last second", "accepted, with ExpiresSoon",
			"refused: CERT_HAS_EXPIRED"}: "RFC 5280 §4.1.2.5 counts the last second in",
		{"key usage keyAgreement", "refused: NotForClientAuth",
			"accepted"}: "TLS 1.3 forbids it (RFC " +
			"8446 §4.4.2.2); in TLS 1.2 it is for static Diffie-Hellman, which no sidecar offers",
		{"self-signed", "accepted",
			"refused: DEPTH_ZERO_SELF_SIGNED_CERT"}: "partners that take a self-signed certificate have been given it before; " +
			"where this one has, OpenSSL accepts it too",
		{"the issuing intermediate missing", "accepted, with ChainIncomplete",
			"refused: UNABLE_TO_GET_ISSUER_CERT_LOCALLY"}: issuerUnknown,
		{"the root expired, in the file", "accepted, with IntermediateExpired",
			"refused: CERT_HAS_EXPIRED"}: outOfTime,
		{"the root expired, not in the file", "accepted",
			"refused: CERT_HAS_EXPIRED"}: "a root that isn't there can't be checked; the partner trusts its own copy",
		{"the upper intermediate missing", "accepted",
			"refused: UNABLE_TO_GET_ISSUER_CERT_LOCALLY"}: notSeen,
		{"the upper intermediate missing", "accepted, with ChainIncomplete",
			"refused: UNABLE_TO_GET_ISSUER_CERT_LOCALLY"}: issuerUnknown,
	}
}

// TestCorpusAgainstOpenSSL compares the results for 500 chains with those of OpenSSL, and with the
// table in the docs. It checks each chain as a Secret, in the order of the file. OpenSSL verifies
// it like a server that trusts its root.
func TestCorpusAgainstOpenSSL(t *testing.T) {
	openssl(t, "version")
	corpus := newCorpus(t)
	classes := corpus.classes()
	names := slices.Sorted(maps.Keys(classes))
	var chains []*made
	for i := range corpusSize {
		chains = append(chains, corpus.make(classes[names[i%len(names)]]))
	}
	theirs := verify(t, chains)

	counts := map[outcome]int{}
	for i, chain := range chains {
		counts[outcome{names[i%len(names)], ours(t, chain), theirs[i]}]++
	}
	known := differences()
	for row := range counts {
		if _, listed := known[row]; !listed && accepts(row.ours) != accepts(row.theirs) {
			t.Errorf("a difference that nobody explained: %+v", row)
		}
	}
	for row := range known {
		if counts[row] == 0 || accepts(row.ours) == accepts(row.theirs) {
			t.Errorf("a difference that was explained and doesn't occur, or is none: %+v", row)
		}
	}

	const page = "../../../docs/project/credential-check.md"
	part := marked.Part{
		Begin: "<!-- corpus: written by UPDATE_GOLDEN=1 go test ./internal/certs/credential -->",
		End:   "<!-- end of the corpus -->",
	}
	document := must[[]byte](t)(os.ReadFile(page))
	golden.Compare(t, page, []byte(must[string](t)(part.Replace(string(document), corpusTable(counts, known)))))
}

// ours returns the result of this package for a chain: the reasons of the refusal or the warnings.
func ours(t *testing.T, m *made) string {
	t.Helper()
	var certificates []byte
	for _, certificate := range m.certificates {
		certificates = append(certificates, block("CERTIFICATE", certificate.Raw)...)
	}
	data := map[string][]byte{"cert": certificates, "key": m.keyPEM, "cacert": m.corpus.server.CertPEM}
	inspection, err := looked(credential.MaterialOfSecret(&corev1.Secret{Data: data}))
	if err != nil {
		t.Fatal(err)
	}
	_, refused := credential.Check(data, credential.CertKeyLayout(), now())
	if (refused != nil) != inspection.Refused() {
		t.Errorf("the judgement and the inspection differ: %v, %+v", refused, inspection.Findings)
	}
	var refusals, warnings []string
	for _, finding := range inspection.Findings {
		if finding.Severity == credential.Refused {
			refusals = append(refusals, string(finding.Reason))
		} else if !slices.Contains(warnings, string(finding.Reason)) {
			warnings = append(warnings, string(finding.Reason))
		}
	}
	switch {
	case len(refusals) > 0:
		return "refused: " + strings.Join(refusals, ", ")
	case len(warnings) > 0:
		return "accepted, with " + strings.Join(warnings, ", ")
	default:
		return "accepted"
	}
}

// verify runs openssl for every chain and its key. It compares public keys in the output of
// openssl.
func verify(t *testing.T, chains []*made) []string {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	public := map[string]string{}
	publicOf := func(identity string, args ...string) string {
		if _, known := public[identity]; !known {
			output, ok := openssl(t, args...)
			if !ok {
				output = ""
			}
			public[identity] = output
		}
		return public[identity]
	}
	results := make([]string, len(chains))
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for i, chain := range chains {
		var rest []byte
		for _, certificate := range chain.certificates[1:] {
			rest = append(rest, block("CERTIFICATE", certificate.Raw)...)
		}
		leaf := file(fmt.Sprintf("%d-leaf.pem", i), block("CERTIFICATE", chain.certificates[0].Raw))
		args := []string{
			"verify", "-purpose", "sslclient", "-attime", strconv.FormatInt(now().Unix(), 10), "-no-CApath",
			"-CAfile", file(fmt.Sprintf("%d-root.pem", i), block("CERTIFICATE", chain.trusted.Raw)),
		}
		if rest != nil {
			args = append(args, "-untrusted", file(fmt.Sprintf("%d-rest.pem", i), rest))
		}
		problem := ""
		switch key := publicOf(string(chain.keyPEM), "pkey", "-pubout", "-in",
			file(fmt.Sprintf("%d-key.pem", i), chain.keyPEM)); key {
		case "":
			problem = "the key can't be read"
		case publicOf(string(chain.certificates[0].RawSubjectPublicKeyInfo), "x509", "-noout", "-pubkey", "-in", leaf):
		default:
			problem = "the public keys differ"
		}
		group.Go(func() error {
			output, ok := openssl(t, append(args, leaf)...)
			problems := verifyErrors(output)
			if ok != (len(problems) == 0) {
				return fmt.Errorf("openssl says: %s", output)
			}
			if problem != "" {
				problems = append(problems, problem)
			}
			results[i] = "accepted"
			if len(problems) > 0 {
				results[i] = "refused: " + strings.Join(problems, ", ")
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return results
}

// verifyErrors returns the errors in the output of openssl, by the names of
// X509_STORE_CTX_get_error(3), because the texts differ between versions.
func verifyErrors(output string) []string {
	names := map[string]string{
		"2":  "UNABLE_TO_GET_ISSUER_CERT",
		"7":  "CERT_SIGNATURE_FAILURE",
		"9":  "CERT_NOT_YET_VALID",
		"10": "CERT_HAS_EXPIRED",
		"18": "DEPTH_ZERO_SELF_SIGNED_CERT",
		"19": "SELF_SIGNED_CERT_IN_CHAIN",
		"20": "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
		"21": "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
		"25": "PATH_LENGTH_EXCEEDED",
		"26": "INVALID_PURPOSE",
		"32": "KEYUSAGE_NO_CERTSIGN",
		"34": "UNHANDLED_CRITICAL_EXTENSION",
		"47": "PERMITTED_VIOLATION",
		"79": "INVALID_CA",
	}
	var found []string
	for _, match := range regexp.MustCompile(`(?m)^error (\d+) at \d+ depth lookup`).FindAllStringSubmatch(output, -1) {
		if name := cmp.Or(names[match[1]], "error "+match[1]); !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}

// corpusTable prints first the differences, then the rows in which both agree.
func corpusTable(counts map[outcome]int, known map[outcome]string) string {
	rows := slices.SortedFunc(maps.Keys(counts), func(a, b outcome) int {
		return cmp.Or(strings.Compare(a.class, b.class), strings.Compare(a.ours, b.ours),
			strings.Compare(a.theirs, b.theirs))
	})
	var different, alike strings.Builder
	differ, agree := 0, 0
	for _, row := range rows {
		if why, differs := known[row]; differs {
			differ += counts[row]
			fmt.Fprintf(&different, "| %s | %s | %s | %d | %s |\n", row.class, row.ours, row.theirs, counts[row], why)
			continue
		}
		agree += counts[row]
		fmt.Fprintf(&alike, "| %s | %s | %s | %d |\n", row.class, row.ours, row.theirs, counts[row])
	}
	return fmt.Sprintf("Of %d chains both accept or both refuse %d. The other %d:\n\n"+
		"| chain | here | OpenSSL | chains | why |\n|---|---|---|---|---|\n%s\n"+
		"And those in which both agree:\n\n| chain | here | OpenSSL | chains |\n|---|---|---|---|\n%s",
		agree+differ, agree, differ, different.String(), alike.String())
}
