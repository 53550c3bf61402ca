// Package golden compares what a test made with what a file holds. Inputs are found by themselves,
// so that a new file is a new test, and a golden file without an input fails. UPDATE_GOLDEN=1 in
// the environment regenerates the files.
package golden

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	inputSuffix  = ".yaml"
	goldenSuffix = ".golden.yaml"
	updateEnv    = "UPDATE_GOLDEN"
)

// Inputs returns the paths of the inputs in dir by name, and fails t for golden files that belong
// to none.
func Inputs(t testing.TB, dir string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+inputSuffix))
	if err != nil {
		t.Fatal(err)
	}
	inputs := map[string]string{}
	for _, path := range paths {
		if !strings.HasSuffix(path, goldenSuffix) {
			inputs[strings.TrimSuffix(filepath.Base(path), inputSuffix)] = path
		}
	}
	if len(inputs) == 0 {
		t.Fatalf("no inputs in %s", dir)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), goldenSuffix)
		if _, found := inputs[name]; strings.HasSuffix(path, goldenSuffix) && !found {
			t.Errorf("%s is stale: there is no %s%s", path, name, inputSuffix)
		}
	}
	return inputs
}

// Names returns the names of inputs in order.
func Names(inputs map[string]string) []string {
	return slices.Sorted(maps.Keys(inputs))
}

// Documents returns the YAML documents of the file at path as JSON.
func Documents(t testing.TB, path string) [][]byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	var documents [][]byte
	for {
		var document map[string]any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if document == nil {
			continue
		}
		encoded, err := json.Marshal(document)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		documents = append(documents, encoded)
	}
}

// File returns the golden file of the input at path.
func File(path string) string {
	return strings.TrimSuffix(path, inputSuffix) + goldenSuffix
}

// Compare fails t when got isn't what the golden file at path holds.
func Compare(t testing.TB, path string, got []byte) {
	t.Helper()
	if os.Getenv(updateEnv) == "1" {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with %s=1 and read it before you commit it", err, updateEnv)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
