package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/app"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/informers"
)

// defaultCleanupTimeout is less than the Job's deadline in the chart, so that the log contains the
// reason for a failure.
const defaultCleanupTimeout = 100 * time.Second

func newUninstallCleanupCommand() *cobra.Command {
	connection := &connectionFlags{}
	timeout := defaultCleanupTimeout
	var secretNames []string
	cmd := &cobra.Command{
		Use:   "uninstall-cleanup [flags]",
		Short: "Delete the controller's objects after uninstalling it",
		Long: `Delete the EgressTargets that the controller created, and the Istio objects and
the finalizer of all EgressTargets. EgressTargets that users created remain,
without finalizer and status. The chart runs this command after helm uninstall
has removed the controller. After helm uninstall --no-hooks, run it yourself.
While the release is installed, its policies reject these changes.

The command skips namespaces in which a Pod uses a target, because the Pod's
calls still need the programmed objects. Run it again after the Pods are gone.

Exit codes: 0 done, with a list of what is left; 2 invalid command line or
kubeconfig, or something could not be read or deleted.`,
		Example: `  mtls-egress-webhook uninstall-cleanup`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secrets, err := namedSecrets(secretNames)
			if err != nil {
				return err
			}
			config, err := connection.config(usersTimeout)
			if err != nil {
				return err
			}
			c, unserved, err := cleanupClient(config)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			return cleanUp(ctx, c, unserved, secrets, cmd.OutOrStdout())
		},
	}
	connection.add(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to retry")
	cmd.Flags().StringSliceVar(&secretNames, "delete-secret", nil,
		"additional Secret to delete, as NAMESPACE/NAME, such as one that cert-manager created for the "+
			"webhook's serving certificate")
	return cmd
}

// cleanupClient returns a client for EgressTargets, Pods and the Istio kinds, even if no server
// serves them. unserved reports whether the API server says that it doesn't serve EgressTargets.
func cleanupClient(config *rest.Config) (c client.Client, unserved func(context.Context) (bool, error), err error) {
	scheme, err := app.NewScheme()
	if err != nil {
		return nil, nil, err
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, nil, err
	}
	discovered, mapperErr := apiutil.NewDynamicRESTMapper(config, httpClient)
	server, err := discovery.NewDiscoveryClientForConfigAndClient(config, httpClient)
	if err := errors.Join(mapperErr, err); err != nil {
		return nil, nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	c, err = client.New(config,
		client.Options{Scheme: scheme, HTTPClient: httpClient, Mapper: informers.WithIstio(discovered)})
	return c, func(ctx context.Context) (bool, error) {
		none, err := absent.Group(ctx, server.RESTClient(), v1alpha1.GroupVersion().Group)
		if err != nil {
			return false, fmt.Errorf("can't determine which objects of the controller are left: %w", err)
		}
		return none, nil
	}, err
}

// namedSecrets parses NAMESPACE/NAME names.
func namedSecrets(names []string) ([]*corev1.Secret, error) {
	var secrets []*corev1.Secret
	var problems []error
	for _, full := range names {
		namespace, name, err := toolscache.SplitMetaNamespaceKey(full)
		if err != nil || namespace == "" || name == "" {
			problems = append(problems, fmt.Errorf("--delete-secret: %q is not NAMESPACE/NAME", full))
			continue
		}
		secrets = append(secrets, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	}
	return secrets, wrongCommandLine(problems...)
}

// deleteSecrets deletes the Secrets that exist.
func deleteSecrets(ctx context.Context, c client.Client, secrets []*corev1.Secret) error {
	var problems []error
	for _, secret := range secrets {
		if err := absent.Ignore(c.Delete(ctx, secret)); err != nil {
			problems = append(problems, fmt.Errorf("deleting the Secret %s/%s: %w", secret.Namespace, secret.Name, err))
		}
	}
	return errors.Join(problems...)
}

// cleanUp retries until ctx is done. For a moment, the API server still enforces deleted policies,
// and a terminating replica can still write.
func cleanUp(
	ctx context.Context,
	c client.Client,
	unserved func(context.Context) (bool, error),
	secrets []*corev1.Secret,
	stdout io.Writer,
) error {
	const between = time.Second
	var used []string
	var problem error
	err := wait.PollUntilContextCancel(ctx, between, true, func(ctx context.Context) (bool, error) {
		left, err := controller.TearDownUnused(ctx, c, unserved)
		if err = errors.Join(err, deleteSecrets(ctx, c, secrets)); err != nil {
			if ctx.Err() == nil || problem == nil {
				problem = err
			}
			return false, nil
		}
		used, problem = left, nil
		return true, nil
	})
	if problem != nil || err != nil {
		return errors.Join(problem, err)
	}
	if len(used) > 0 {
		_, err = fmt.Fprintf(stdout, "not deleted, because Pods in their namespaces use some of them: %s\n",
			strings.Join(used, ", "))
		return err
	}
	_, err = fmt.Fprintln(stdout, "all objects of the controller are deleted")
	return err
}
