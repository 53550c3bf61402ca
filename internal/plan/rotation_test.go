package plan

import "testing"

func TestIgnoresRenewals(t *testing.T) {
	for version, want := range map[string]bool{
		"1.28.9": false, "1.29.0": true, "1.29.2": true, "1.29.3": false, "1.30.0": true, "1.30.2": true, "1.30.3": false,
		"1.31.0": false, "2.29.0": false, "": false, "latest": false,
	} {
		if got := IgnoresRenewals(version); got != want {
			t.Errorf("%s: %t, want %t", version, got, want)
		}
	}
}
