package main

import (
	"maps"
	"strings"
	"testing"
)

func TestWorkloadsDirectory(t *testing.T) {
	want := map[string]string{
		"bin/argo-rollouts":              "/cache/workloads/built/argo-rollouts",
		"bin/jobset":                     "/cache/workloads/built/jobset",
		"manifests/argo-rollouts-crds":   "/modules/argo/manifests/crds",
		"manifests/jobset-crd.yaml":      "/modules/jobset/config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml",
		"manifests/jobset-webhooks.yaml": "/modules/jobset/config/components/webhook/manifests.yaml",
	}
	got := workloadLinks("/cache/workloads", map[string]string{
		argoRolloutsModule: "/modules/argo", jobSetModule: "/modules/jobset",
	})
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestWorkloadCRDsAreOfTheVersionsOfTheControllers(t *testing.T) {
	want, err := runGo(t.Context(), workloadSet().module, func(int) {}, "list", "-m", "-f", "{{.Path}}@{{.Version}}",
		argoRolloutsModule, jobSetModule)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, wanted := range workloadManifests() {
		if module, _, _ := strings.Cut(wanted.module, "@"); module == argoRolloutsModule || module == jobSetModule {
			got = append(got, wanted.module)
		}
	}
	if strings.Join(got, "\n") != want {
		t.Errorf("the CRDs are of %v, the programs of %v", got, strings.Fields(want))
	}
}
