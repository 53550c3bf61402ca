package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	// The ways to log in that kubeconfigs name, as kubectl has them.
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// connectionFlags are those of the commands that people run against a cluster.
type connectionFlags struct {
	kubeconfig string
	context    string
}

func (f *connectionFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "the kubeconfig file; default: the files in $KUBECONFIG, else ~/.kube/config, else the Pod's service account")
	cmd.Flags().StringVar(&f.context, "context", "", "the context of the kubeconfig; default: its current one")
}

// config is the connection, on which no request takes longer than timeout.
func (f *connectionFlags) config(timeout time.Duration) (*rest.Config, error) {
	config, err := restConfig(f.kubeconfig, f.context)
	if err != nil {
		return nil, usageError(err)
	}
	config.UserAgent = name + "/" + ownVersion()
	config.Timeout = timeout
	return config, nil
}

// client is a client of the kinds that types adds to a scheme, whose requests take no longer than
// timeout.
func (f *connectionFlags) client(timeout time.Duration, types ...func(*runtime.Scheme) error) (client.Client, error) {
	config, err := f.config(timeout)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	for _, add := range types {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("reaching the API server: %w", err)
	}
	return c, nil
}

// clientConfig is what kubectl takes as its connection, from the kubeconfig and its context if they
// are given.
func clientConfig(kubeconfig, context string) clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context})
}

// restConfig loads the connection to the API server as kubectl does, from the kubeconfig and its
// context if they are given.
func restConfig(kubeconfig, context string) (*rest.Config, error) {
	config, err := clientConfig(kubeconfig, context).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("finding out how to reach the API server: %w", err)
	}
	// The API server limits its clients by priority and fairness; a limit of our own would make
	// admission wait behind reconciliations:
	// https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
	config.QPS = -1
	return config, nil
}
