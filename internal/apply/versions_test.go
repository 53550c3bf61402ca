package apply

import (
	"testing"
	"time"

	"mtls.egress/webhook/internal/mesh"
)

func TestACacheIsKnownToBeBehind(t *testing.T) {
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	written := NewVersions()
	written.Wrote(mesh.KindVirtualService, virtualService("a", "100"), start)
	tests := map[string]struct {
		versions *Versions
		version  string
		after    time.Duration
		behind   bool
	}{
		"when it has an older version":                       {written, "99", time.Second, true},
		"not when it has what was written":                   {written, "100", time.Second, false},
		"not when somebody has changed that":                 {written, "101", time.Second, false},
		"not for long: the API server may have a past again": {written, "99", time.Minute, false},
		"not of what this controller has never written":      {NewVersions(), "99", time.Second, false},
		"not by versions that are none of an API server":     {written, "next", time.Second, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			read, at := virtualService("a", test.version), start.Add(test.after)
			if got := test.versions.Behind(mesh.KindVirtualService, read, at); got != test.behind {
				t.Errorf("behind %t, want %t", got, test.behind)
			}
		})
	}
}

func TestALateNoteOfAnEarlierWriteDoesntCount(t *testing.T) {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	v := NewVersions()
	v.Wrote(mesh.KindVirtualService, virtualService("a", "101"), at)
	v.Wrote(mesh.KindVirtualService, virtualService("a", "100"), at)
	if !v.Behind(mesh.KindVirtualService, virtualService("a", "100"), at) {
		t.Error("a cache that has the first of two writes isn't taken to be behind")
	}
}

func TestVersionsAreForgottenWithTime(t *testing.T) {
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	v := NewVersions()
	v.Wrote(mesh.KindVirtualService, virtualService("a", "100"), start)
	v.Wrote(mesh.KindDestinationRule, virtualService("a", "101"), start.Add(time.Minute))
	if len(v.last) != 1 {
		t.Errorf("%d versions are remembered after a minute, want the last one only", len(v.last))
	}
}

func TestOneWorkerWritesAnObject(t *testing.T) {
	v, key := NewVersions(), objectKey{mesh.KindServiceEntry, "shop", "anchor"}
	if !v.begin(key) {
		t.Fatal("nobody writes, and the first may not")
	}
	if v.begin(key) {
		t.Error("a second one may write at the same time")
	}
	if !v.begin(objectKey{mesh.KindServiceEntry, "bank", "anchor"}) {
		t.Error("another object may not be written")
	}
	v.end(key)
	if !v.begin(key) {
		t.Error("after the first is done, nobody may write")
	}
}
