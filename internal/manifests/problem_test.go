package manifests_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/manifests"
)

func TestAPathOfAMessageIsRead(t *testing.T) {
	tests := map[string][]any{
		"":                                 nil,
		"spec":                             {"spec"},
		"spec.url":                         {"spec", "url"},
		"spec.containers[12].env[0].value": {"spec", "containers", 12, "env", 0, "value"},
		"metadata.annotations[mtls.egress/target]": {"metadata", "annotations", "mtls.egress/target"},
		"spec.nodeSelector[kubernetes.io/os]":      {"spec", "nodeSelector", "kubernetes.io/os"},
		"spec.jobs[1].template.metadata[a.b].cd":   {"spec", "jobs", 1, "template", "metadata", "a.b", "cd"},
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			got := manifests.ParsePath(text)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("path (-want +got):\n%s", diff)
			}
			if again := manifests.FieldPath(got); again != text {
				t.Errorf("written again: %s", again)
			}
		})
	}
}
