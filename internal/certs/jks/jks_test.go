package jks_test

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"

	"mtls.egress/webhook/internal/certs/jks"
)

// stores are files that keytool of Java 17 wrote, with the password changeit.
const stores = "../credential/testdata/keystores/"

func file(tb testing.TB, name string) []byte {
	tb.Helper()
	content, err := os.ReadFile(stores + name)
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

func TestReadsWhatKeytoolWrites(t *testing.T) {
	content := file(t, "java.jks")
	changed := slices.Clone(content)
	changed[len(changed)/2] ^= 1
	declares := func(at int, value uint32) []byte {
		declared := slices.Clone(content)
		binary.BigEndian.PutUint32(declared[at:], value)
		return declared
	}
	tests := map[string]struct {
		content            []byte
		password           string
		keys, certificates int
		// The error is one of the package's variables, or has this text.
		is   error
		text string
	}{
		"JKS with a key and its chain": {
			content:  content,
			password: "changeit", keys: 1, certificates: 3,
		},
		"another password": {
			content:  content,
			password: "changeit2",
			is:       jks.ErrPassword,
		},
		"no password":    {content: content, is: jks.ErrNoPassword},
		"a changed byte": {content: changed, password: "changeit", is: jks.ErrPassword},
		"the key of a JCEKS": {
			content:  file(t, "java.jceks"),
			password: "changeit",
			is:       jks.ErrUnsupported,
		},
		"the start of a file": {
			content: content[:100],
			text:    "jks: the file ends inside a value",
		},
		"the start, with its password": {
			content:  content[:len(content)/2],
			password: "changeit",
			text:     "jks: the file ends inside a value",
		},
		"a header alone": {content: content[:8], text: "jks: not a key store"},
		"something else": {
			content: file(t, "keystore.pem"),
			text:    "jks: not a key store",
		},
		"four billion entries": {content: declares(8, 1<<32-1), is: jks.ErrNoPassword},
		"a key of two gigabytes": {
			content: declares(12+4+2+6+8, 1<<31-1),
			text:    "jks: the file ends inside a value",
		},
		"a version of the future":               {content: declares(4, 3), text: "jks: unknown version 3"},
		"an entry that is neither key nor cert": {content: declares(12, 3), is: jks.ErrUnsupported},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := jks.Read(test.content, test.password)
			switch {
			case test.is != nil && !errors.Is(err, test.is):
				t.Errorf("error %v, want %v", err, test.is)
			case test.text != "" && (err == nil || err.Error() != test.text):
				t.Errorf("error %v, want %s", err, test.text)
			case test.is == nil && test.text == "" && err != nil:
				t.Error(err)
			}
			if len(got.Keys) != test.keys || len(got.Certificates) != test.certificates {
				t.Fatalf("%d keys and %d certificates", len(got.Keys), len(got.Certificates))
			}
			for _, key := range got.Keys {
				if _, err := x509.ParsePKCS8PrivateKey(key.DER); err != nil || key.Name != "orders" {
					t.Errorf("the key of %s: %v", key.Name, err)
				}
			}
		})
	}
}

// FuzzRead checks that no input makes Read panic or return more than the limit.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"java.jks", "java.jceks"} {
		content := file(f, name)
		f.Add(content, "changeit")
		f.Add(content[:len(content)-30], "")
		f.Add(content[:20], "x")
	}
	f.Fuzz(func(t *testing.T, content []byte, password string) {
		read, err := jks.Read(content, password)
		if err != nil && (len(read.Keys) > 0 || len(read.Certificates) > 0) {
			t.Errorf("an error and a result: %v", err)
		}
		if len(read.Keys)+len(read.Certificates) > 2000 {
			t.Error("more than the limit")
		}
	})
}
