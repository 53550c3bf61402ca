package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
)

// completionTimeout is how long a shell waits for the API server.
const completionTimeout = 3 * time.Second

// addCompletion completes what the user types in a shell: the values of flags that have a fixed
// set, and the names of objects in the cluster.
func addCompletion(root *cobra.Command) {
	values := map[string][]string{
		"show":    {showManifests, showPods, showObjects},
		"fail-on": {failOnError, failOnWarning, failOnNone},
		"layout":  {layoutCert, layoutTLS},
	}
	arguments := map[string][]completion{
		"explain":  {{"egt/", egressTargets()}, {"deploy/", deployments()}, {"", pods()}},
		"inspect":  {{"secret/", secrets()}},
		"describe": {{"secret/", secrets()}},
		"verify":   {{"secret/", secrets()}, {"egt/", egressTargets()}},
	}
	forEachCommand(root, func(command *cobra.Command) {
		for flag, fixed := range values {
			complete(command, flag, cobra.FixedCompletions(fixed, cobra.ShellCompDirectiveNoFileComp))
		}
		if command.Flags().Lookup("kubeconfig") == nil {
			return
		}
		complete(command, "context", completeContexts)
		complete(command, "namespace", completeNames(completion{"", namespaces()}))
		complete(command, "target", completeNames(completion{"", egressTargets()}))
		complete(command, "secret-name", completeNames(completion{"", secrets()}))
		if names := arguments[command.Name()]; len(names) > 0 {
			command.ValidArgsFunction = completeNames(names...)
		}
	})
}

// complete registers the completion of a flag, if the command has it.
func complete(command *cobra.Command, flag string, function cobra.CompletionFunc) {
	if command.Flags().Lookup(flag) != nil {
		// The error says that the flag doesn't exist, or has a completion.
		_ = command.RegisterFlagCompletionFunc(flag, function)
	}
}

// completion are the names of the objects of a kind, each with a prefix.
type completion struct {
	prefix string
	kind   schema.GroupVersionKind
}

func namespaces() schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind("NamespaceList") }
func pods() schema.GroupVersionKind       { return corev1.SchemeGroupVersion.WithKind("PodList") }
func secrets() schema.GroupVersionKind    { return corev1.SchemeGroupVersion.WithKind("SecretList") }
func deployments() schema.GroupVersionKind {
	return appsv1.SchemeGroupVersion.WithKind("DeploymentList")
}
func egressTargets() schema.GroupVersionKind {
	return v1alpha1.GroupVersion().WithKind(v1alpha1.Kind + "List")
}

// completeNames completes the names of objects in the namespace of the command line. Without a
// cluster, or without the permission to list them, it completes nothing, as kubectl does.
func completeNames(all ...completion) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, one := range all {
			// Only the first argument of these commands is an object.
			if len(args) == 0 && (strings.HasPrefix(typed, one.prefix) || strings.HasPrefix(one.prefix, typed)) {
				names = append(names, one.names(command)...)
			}
		}
		slices.Sort(names)
		directive := cobra.ShellCompDirectiveDefault
		if len(names) > 0 {
			directive = cobra.ShellCompDirectiveNoFileComp
		}
		return names, directive
	}
}

// names returns the names in the cluster.
func (c completion) names(command *cobra.Command) []string {
	var connection connectionFlags
	connection.kubeconfig = command.Flags().Lookup("kubeconfig").Value.String()
	connection.context = command.Flags().Lookup("context").Value.String()
	reader, err := connection.client(completionTimeout)
	if err != nil {
		return nil
	}
	namespace, _, err := clientConfig(connection.kubeconfig, connection.context).Namespace()
	if err != nil {
		return nil
	}
	if flag := command.Flags().Lookup("namespace"); flag != nil && flag.Value.String() != "" {
		namespace = flag.Value.String()
	}
	options := []client.ListOption{client.InNamespace(namespace)}
	if c.kind == namespaces() {
		options = nil
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(c.kind)
	ctx, cancel := context.WithTimeout(command.Context(), completionTimeout)
	defer cancel()
	if err := reader.List(ctx, list, options...); err != nil {
		return nil
	}
	names := make([]string, len(list.Items))
	for n := range list.Items {
		names[n] = c.prefix + list.Items[n].Name
	}
	return names
}

// completeContexts completes the contexts of the kubeconfig.
func completeContexts(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	config, err := clientConfig(command.Flags().Lookup("kubeconfig").Value.String(), "").RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for name := range config.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}
