package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"mtls.egress/webhook/test/encodings"
)

// TestAPasswordIsReadInEveryEncoding checks passwords with and without a trailing newline.
func TestAPasswordIsReadInEveryEncoding(t *testing.T) {
	for _, password := range []string{"changeit", "grün ключ", `C:\new`} {
		for _, newline := range []string{"", "\n"} {
			for encoding, content := range encodings.Of(password + newline) {
				t.Run(encoding, func(t *testing.T) {
					file := filepath.Join(t.TempDir(), "password.txt")
					if err := os.WriteFile(file, content, 0o600); err != nil {
						t.Fatal(err)
					}
					for source, in := range map[string]*bytes.Reader{file: nil, standardInput: bytes.NewReader(content)} {
						if got, err := readPassword(source, in, nil, ""); err != nil || got != password {
							t.Errorf("%s: %q, error %v; want %q", source, got, err, password)
						}
					}
				})
			}
		}
	}
}

func TestAPasswordInUTF32IsRefused(t *testing.T) {
	_, err := readPassword(standardInput, bytes.NewReader([]byte("\xff\xfe\x00\x00a\x00\x00\x00")), nil, "")
	const want = "reading the password from standard input: it is UTF-32: save it as UTF-8"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
