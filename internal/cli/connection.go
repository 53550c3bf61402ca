package cli

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// restConfig loads the connection to the API server as kubectl does, from the kubeconfig and its context if they are given.
func restConfig(kubeconfig, context string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("finding out how to reach the API server: %w", err)
	}
	// The API server limits its clients by priority and fairness; a limit of our own would make admission wait behind
	// reconciliations: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
	config.QPS = -1
	return config, nil
}
