package cli

import "testing"

func TestWordsAreQuotedForTheShell(t *testing.T) {
	for word, want := range map[string]string{
		"dir/secret-1.yaml": "dir/secret-1.yaml", "my secret.yaml": "'my secret.yaml'", "it's": `'it'\''s'`, "": "''",
		"~/$(id);`id`": "'~/$(id);`id`'", "schlüssel.yaml": "'schlüssel.yaml'", `C:\secret.yaml`: `'C:\secret.yaml'`,
	} {
		if got := shellQuoted(word); got != want {
			t.Errorf("%s: got %s, want %s", word, got, want)
		}
	}
}
