package pfx_test

import (
	"encoding/asn1"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mtls.egress/webhook/internal/certs/pfx"
)

// FuzzRead checks that every error is of a type that callers explain, that the iterations are
// limited, and that a key that is returned is a PKCS#8 structure.
func FuzzRead(f *testing.F) {
	for _, folder := range []string{"pkcs12", "keystores"} {
		files, err := filepath.Glob("../credential/testdata/" + folder + "/*.p12")
		if err != nil || len(files) == 0 {
			f.Fatalf("no files: %v", err)
		}
		for _, name := range files {
			content, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content, "changeit")
			f.Add(content, "")
		}
	}
	f.Fuzz(func(t *testing.T, ber []byte, password string) {
		der, _, err := pfx.ToDER(ber)
		if err != nil {
			der = ber
		}
		contents, err := pfx.Read(der, password, 5000)
		if err != nil {
			_, wrong := errors.AsType[*pfx.PasswordError](err)
			_, unsupported := errors.AsType[*pfx.UnsupportedError](err)
			_, layout := errors.AsType[*pfx.LayoutError](err)
			_, rounds := errors.AsType[*pfx.IterationsError](err)
			if !wrong && !unsupported && !layout && !rounds {
				t.Errorf("an error that nobody explains: %v", err)
			}
			return
		}
		for _, key := range contents.Keys {
			var sequence asn1.RawValue
			if _, err := asn1.Unmarshal(key.DER, &sequence); err != nil || sequence.Tag != asn1.TagSequence {
				t.Errorf("not a key: %v", err)
			}
		}
	})
}
