package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
)

// The modules of the controllers, and where their manifests are.
const (
	argoRolloutsModule = "github.com/argoproj/argo-rollouts"
	argoRolloutsCRDs   = "manifests/crds"
	jobSetModule       = "sigs.k8s.io/jobset"
	jobSetCRD          = "config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml"
	jobSetWebhooks     = "config/components/webhook/manifests.yaml"
)

// workloads returns the directory that holds the controllers of Argo Rollouts and JobSet and their
// manifests, and makes what is missing.
func workloads(ctx context.Context, progress io.Writer) (string, error) {
	root, err := cacheRoot(os.Getenv)
	if err != nil {
		return "", err
	}
	p, err := workloadSet().part("workloads")
	if err != nil {
		return "", err
	}
	if err := p.provide(ctx, root, progress); err != nil {
		return "", err
	}
	modules := map[string]string{}
	for _, module := range []string{argoRolloutsModule, jobSetModule} {
		if modules[module], err = moduleDirectory(ctx, workloadSet().module, module); err != nil {
			return "", err
		}
	}
	entry, unlock, err := enter(root, p.key, progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	return link(entry, "workloads-", workloadLinks(entry, modules))
}

// workloadLinks is the content of the directory: each path in it, and what that stands for. modules
// are the directories of the modules.
func workloadLinks(entry string, modules map[string]string) map[string]string {
	links := map[string]string{
		"manifests/argo-rollouts-crds":   filepath.Join(modules[argoRolloutsModule], argoRolloutsCRDs),
		"manifests/jobset-crd.yaml":      filepath.Join(modules[jobSetModule], jobSetCRD),
		"manifests/jobset-webhooks.yaml": filepath.Join(modules[jobSetModule], jobSetWebhooks),
	}
	for _, p := range workloadSet().programs {
		for _, name := range p.names {
			links["bin/"+name] = filepath.Join(builtFolder(entry), p.name)
		}
	}
	return links
}
