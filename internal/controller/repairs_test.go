package controller

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/internal/mesh"
)

func virtualService(host, version string) *unstructured.Unstructured {
	object := newIstioObject(mesh.KindVirtualService)
	object.SetNamespace("shop")
	object.SetName("a")
	object.SetResourceVersion(version)
	object.Object["spec"] = map[string]any{"hosts": []any{host}}
	return object
}

func TestRepairsAreTold(t *testing.T) {
	r := newRepairs()
	for _, step := range []struct {
		what          string
		host, version string
		forget        bool
		want          bool
	}{
		{what: "the first write", host: "a", version: "1"},
		{what: "a write that changed nothing", host: "a", version: "1"},
		{what: "the same once more, over something else", host: "a", version: "3", want: true},
		{what: "another wish", host: "b", version: "4"},
		{what: "after we removed it", host: "b", version: "6", forget: true},
		{what: "put back again", host: "b", version: "8", want: true},
	} {
		if step.forget {
			r.forget(mesh.KindVirtualService, "shop", "a")
		}
		if got, err := r.written(virtualService(step.host, ""), virtualService(step.host, step.version), time.Time{}); got != step.want || err != nil {
			t.Errorf("%s: repaired %t, %v, want %t", step.what, got, err, step.want)
		}
	}
}

func TestACacheIsKnownToBeBehind(t *testing.T) {
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	written := newRepairs()
	if _, err := written.written(virtualService("a", ""), virtualService("a", "100"), start); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		repairs *repairs
		version string
		after   time.Duration
		want    bool
	}{
		"when it has an older version":                       {written, "99", time.Second, true},
		"not when it has what was written":                   {written, "100", time.Second, false},
		"not when somebody has changed that":                 {written, "101", time.Second, false},
		"not for long: the API server may have a past again": {written, "99", time.Minute, false},
		"not of what this controller has never written":      {newRepairs(), "99", time.Second, false},
		"not by versions that are none of an API server":     {written, "next", time.Second, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.repairs.behind(virtualService("a", test.version), start.Add(test.after)); got != test.want {
				t.Errorf("behind %t, want %t", got, test.want)
			}
		})
	}
}
