package manifests_test

import (
	"strings"
	"testing"

	"mtls.egress/webhook/internal/manifests"
)

func TestPositionsOfADocumentParseItOnce(t *testing.T) {
	const items = 200
	text := "apiVersion: v1\nkind: List\nitems:\n" + strings.Repeat("- {apiVersion: v1, kind: Pod}\n", items)
	documents, problems := manifests.Read("list.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	objects := manifests.Objects(documents, "")
	_, _ = objects[0].Position("kind")
	allocations := testing.AllocsPerRun(1, func() {
		for n, object := range objects {
			if line, column := object.Position("kind"); line != n+4 || column != 20 {
				t.Fatalf("object %d is at %d:%d", n, line, column)
			}
		}
	})
	if allocations > 5*items {
		t.Errorf("%d positions took %v allocations", items, allocations)
	}
}
