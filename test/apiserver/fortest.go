package apiserver

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// ForTest starts a server for one test, which stops it at its end.
func ForTest(t *testing.T) *Server {
	t.Helper()
	server, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// Processes returns the ids of the processes that were started for the server whose files are in
// dir, so that a test can see them gone.
func Processes(t *testing.T, dir string) []int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "pids"))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
