package main

import (
	"slices"
	"strings"
	"testing"
)

func TestAModuleOfKubernetesHasThePublishedModules(t *testing.T) {
	got, err := moduleEdits([]byte(`{
		"Module": {"Path": "k8s.io/kubernetes"},
		"Require": [
			{"Path": "github.com/google/cel-go", "Version": "v0.20.1"},
			{"Path": "k8s.io/api", "Version": "v0.0.0"},
			{"Path": "k8s.io/utils", "Version": "v0.0.0-20240711033017-18e509b52bc8"}
		],
		"Replace": [{"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}}]
	}`), "v1.31.13")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"-module=kube-apiserver", "-require=k8s.io/kubernetes@v1.31.13",
		"-dropreplace=k8s.io/api", "-require=k8s.io/api@v0.31.13",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAnUnknownKubernetesIsRefusedWithTheKnownOnes(t *testing.T) {
	_, err := assetsOf(t.Context(), "1.12", t.Output())
	if err == nil || !strings.Contains(err.Error(), `unknown Kubernetes version "1.12": write one of 1.31, 1.32, `) {
		t.Errorf("the error is %v", err)
	}
}
