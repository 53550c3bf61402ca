package scalars_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/scalars"
)

// compare is a program of Python that prints each document of a stream that PyYAML reads otherwise
// than it is in a JSON file.
const compare = `
import json, sys, yaml
with open(sys.argv[1], encoding="utf-8") as file:
    want = json.load(file)
with open(sys.argv[2], encoding="utf-8", newline="") as file:
    got = list(yaml.load_all(file, Loader=yaml.SafeLoader))
if len(want) != len(got):
    print(len(got), "documents, want", len(want))
for n, (one, other) in enumerate(zip(want, got)):
    if one != other:
        print("document", n, "is", repr(other), "and not", repr(one))
`

// readByKubernetes reads the stream as kubectl does.
func readByKubernetes(stream []byte, objects []map[string]any) error {
	documents, problems := manifests.Read("stream.yaml", stream)
	if len(problems) > 0 {
		return fmt.Errorf("%s, and %d more problems", problems[0], len(problems)-1)
	}
	if len(documents) != len(objects) {
		return fmt.Errorf("%d documents, want %d", len(documents), len(objects))
	}
	for n, document := range documents {
		if !reflect.DeepEqual(document.Object, objects[n]) {
			return fmt.Errorf("document %d (-want +got):\n%s", n, cmp.Diff(objects[n], document.Object))
		}
	}
	return nil
}

// TestTwoParsersReadWhatIsWritten reads the documents as kubectl does, and with the parser of
// Python, which follows YAML 1.1 most closely.
func TestTwoParsersReadWhatIsWritten(t *testing.T) {
	module, err := apiserver.Tools(t.Context(), "pyyaml")
	if err != nil {
		t.Fatal(err)
	}
	objects := scalars.Objects(20_000)
	stream, err := manifests.YAML(objects)
	if err != nil {
		t.Fatal(err)
	}
	if err := readByKubernetes(stream, objects); err != nil {
		t.Error(err)
	}
	wanted, err := json.Marshal(objects)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "want.json"), filepath.Join(dir, "stream.yaml")}
	for n, content := range [][]byte{wanted, stream} {
		if err := os.WriteFile(files[n], content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	python := exec.CommandContext(t.Context(), "python3", append([]string{"-c", compare}, files...)...)
	python.Env = append(os.Environ(), "PYTHONPATH="+module)
	said, err := python.CombinedOutput()
	if err != nil || len(said) > 0 {
		t.Errorf("%v\n%s", err, said)
	}
}
