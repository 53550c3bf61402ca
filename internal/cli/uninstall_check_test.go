package cli

import (
	"path/filepath"
	"testing"

	"mtls.egress/webhook/test/golden"
)

func TestHelpOfUninstallCheckIsTheGoldenOne(t *testing.T) {
	stdout, stderr, err := execute("uninstall-check", "--help")
	if err != nil || stderr != "" {
		t.Fatalf("error %v, standard error %q", err, stderr)
	}
	golden.Compare(t, filepath.Join("..", "..", "test", "testdata", "cli", "uninstall-check-help.txt"), []byte(stdout))
}

func TestHelpOfUninstallCleanupIsTheGoldenOne(t *testing.T) {
	stdout, stderr, err := execute("uninstall-cleanup", "--help")
	if err != nil || stderr != "" {
		t.Fatalf("error %v, standard error %q", err, stderr)
	}
	golden.Compare(t, filepath.Join("..", "..", "test", "testdata", "cli", "uninstall-cleanup-help.txt"),
		[]byte(stdout))
}
