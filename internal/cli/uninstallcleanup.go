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

// defaultCleanupTimeout is less than the Job's deadline in the chart, so that the log has the
// reason.
const defaultCleanupTimeout = 100 * time.Second

func newUninstallCleanupCommand() *cobra.Command {
	connection := &connectionFlags{}
	timeout := defaultCleanupTimeout
	var secretNames []string
	cmd := &cobra.Command{
		Use:   "uninstall-cleanup [flags]",
		Short: "Take down what the controller made, after it was uninstalled",
		Long: `Delete the EgressTargets that the controller made, and the Istio objects and the finalizer of all of them. EgressTargets that
somebody wrote stay, without finalizer and status. The chart runs it after helm uninstall has removed the controller; run it by
hand after helm uninstall --no-hooks. While the release is installed its policies refuse this.

A namespace in which a Pod uses a target is left as it is, as its calls go on over what is programmed there. Run it
again when the Pods are gone.

Exit codes: 0 done, what is left is printed; 1 something couldn't be taken down, or the cluster couldn't be asked; 2 wrong
command line or unreadable kubeconfig.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			secrets, err := namedSecrets(secretNames)
			if err != nil {
				return usageError(err)
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
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long it tries")
	cmd.Flags().StringSliceVar(&secretNames, "delete-secret", nil, "Secret to delete as well, as NAMESPACE/NAME: one that cert-manager made for the webhook's own certificate")
	return cmd
}

// cleanupClient is a client for EgressTargets, Pods, and the kinds of Istio also where nothing
// serves them. unserved reports whether the API server says that it serves no EgressTargets.
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
		return nil, nil, fmt.Errorf("reaching the API server: %w", err)
	}
	c, err = client.New(config, client.Options{Scheme: scheme, HTTPClient: httpClient, Mapper: informers.WithIstio(discovered)})
	return c, func(ctx context.Context) (bool, error) {
		none, err := absent.Group(ctx, server.RESTClient(), v1alpha1.GroupVersion().Group)
		if err != nil {
			return false, fmt.Errorf("it is not known what is left of the controller's objects: %w", err)
		}
		return none, nil
	}, err
}

// namedSecrets are the Secrets with these names, each NAMESPACE/NAME.
func namedSecrets(names []string) ([]*corev1.Secret, error) {
	var secrets []*corev1.Secret
	var problems []error
	for _, full := range names {
		namespace, name, err := toolscache.SplitMetaNamespaceKey(full)
		if err != nil || namespace == "" || name == "" {
			problems = append(problems, fmt.Errorf("--delete-secret: %q is no NAMESPACE/NAME", full))
			continue
		}
		secrets = append(secrets, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	}
	return secrets, errors.Join(problems...)
}

// deleteSecrets deletes those of them that are there.
func deleteSecrets(ctx context.Context, c client.Client, secrets []*corev1.Secret) error {
	var problems []error
	for _, secret := range secrets {
		if err := absent.Ignore(c.Delete(ctx, secret)); err != nil {
			problems = append(problems, fmt.Errorf("delete the Secret %s/%s: %w", secret.Namespace, secret.Name, err))
		}
	}
	return errors.Join(problems...)
}

// cleanUp tries again as long as it may: the API server goes on for a moment to refuse by policies
// that are gone, and a replica that is about to end may still write.
func cleanUp(ctx context.Context, c client.Client, unserved func(context.Context) (bool, error), secrets []*corev1.Secret, stdout io.Writer) error {
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
		_, err = fmt.Fprintf(stdout, "left as they are, as Pods of their namespaces use some of them: %s\n", strings.Join(used, ", "))
		return err
	}
	_, err = fmt.Fprintln(stdout, "nothing is left of what the controller made")
	return err
}
