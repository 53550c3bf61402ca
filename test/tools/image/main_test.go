package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestImageHoldsTheBinaryAndNothingElse(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "webhook")
	if err := os.WriteFile(binary, []byte("\x7fELF and so on"), 0o600); err != nil {
		t.Fatal(err)
	}
	digests := map[string]bool{}
	for range 2 {
		output := filepath.Join(t.TempDir(), "image.tar")
		if err := write(binary, "example.com/webhook:1", output); err != nil {
			t.Fatal(err)
		}
		image, err := tarball.ImageFromPath(output, nil)
		if err != nil {
			t.Fatal(err)
		}
		file, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if file.OS != "linux" || file.Config.User != "65532:65532" || len(file.Config.Entrypoint) != 1 || file.Config.Entrypoint[0] != "/mtls-egress-webhook" {
			t.Errorf("configuration: %+v", file)
		}
		layers, err := image.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("%d layers, %v", len(layers), err)
		}
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests[digest.String()] = true
	}
	if len(digests) != 1 {
		t.Errorf("the same binary gives different images: %v", digests)
	}
}

func TestImageRefusesWhatIsNoProgram(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(script, "example.com/webhook:1", filepath.Join(t.TempDir(), "image.tar")); err == nil {
		t.Error("a script became an image")
	}
}
