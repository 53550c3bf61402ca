package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // the plugins that kubeconfigs can name, as in kubectl
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// connectionFlags are the flags of the commands that users run against a cluster.
type connectionFlags struct {
	kubeconfig string
	context    string
	// command is the command that has the flags. It is nil without one.
	command *cobra.Command
}

// typed returns text for the user, with commands as in [inTypedWords].
func (f *connectionFlags) typed(text string) string {
	if f.command == nil {
		return text
	}
	return inTypedWords(f.command, text)
}

func (f *connectionFlags) add(cmd *cobra.Command) {
	f.command = cmd
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "",
		"the kubeconfig file (default: $KUBECONFIG, then ~/.kube/config, then the Pod's service account)")
	cmd.Flags().StringVar(&f.context, "context", "", "the kubeconfig context (default: the current one)")
}

// config returns the client configuration with a request timeout.
func (f *connectionFlags) config(timeout time.Duration) (*rest.Config, error) {
	config, err := restConfig(f.kubeconfig, f.context)
	if err != nil {
		return nil, err
	}
	config.UserAgent = name + "/" + ownVersion()
	config.Timeout = timeout
	return config, nil
}

// progress returns a progress for requests to the API server. It shows nothing if a plugin of the
// kubeconfig may ask the user to log in: the plugin writes to the same terminal, and the line of
// the progress would erase the question.
func (f *connectionFlags) progress(out io.Writer) progress {
	config, err := restConfig(f.kubeconfig, f.context)
	if err != nil { // the command says so
		return progress{}
	}
	if plugin := config.ExecProvider; plugin != nil && plugin.InteractiveMode != clientcmdapi.NeverExecInteractiveMode {
		return progress{}
	}
	return newProgress(out)
}

// client returns a client with a request timeout. types add the required kinds to its scheme.
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
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return c, nil
}

// clientConfig returns the same configuration that kubectl uses. kubeconfig and context are
// optional.
func clientConfig(kubeconfig, context string) clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: context})
}

// restConfig loads the connection to the API server as kubectl does. kubeconfig and context are
// optional.
func restConfig(kubeconfig, context string) (*rest.Config, error) {
	config, err := clientConfig(kubeconfig, context).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("no kubeconfig names a cluster: set --kubeconfig FILE or the variable KUBECONFIG, or run " +
			"the command in a Pod with a service account")
	}
	if err != nil {
		return nil, fmt.Errorf("loading the kubeconfig: %w", err)
	}
	// The API server limits clients by priority and fairness. With a client-side limit, admission
	// would wait for reconciliations:
	// https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
	config.QPS = -1
	return config, nil
}
