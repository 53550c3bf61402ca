package installation_test

import (
	"os"
	"testing"
)

// wantNothing fails when there are files of a server. Its processes run in its directory of files,
// which the guard removes last.
func wantNothing(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Errorf("left behind: %s", entry.Name())
	}
}
