package cli

import (
	"cmp"
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

// overwriteTimeout bounds each request of the check. The command works without a cluster, so it
// must not wait long for one.
const overwriteTimeout = 5 * time.Second

// markFor sets the annotation with the host on a Secret manifest.
func markFor(secret map[string]any, host string) map[string]any {
	if fields, ok := secret["metadata"].(map[string]any); ok {
		fields["annotations"] = map[string]any{egress.AnnotationHost: host}
	}
	return secret
}

// inCluster is the state of the cluster, as far as the user may read it.
type inCluster struct {
	// secretFor is the host in the annotation of the existing Secret, or "".
	secretFor     string
	egressTargets []v1alpha1.EgressTarget
}

// checkOverwrite rejects a Secret that another host uses: one that was created for another host or,
// if no name is set, one that is the default Secret of another host's EgressTarget.
func (c inCluster) checkOverwrite(t egress.Target, named bool) error {
	if c.secretFor != "" && c.secretFor != t.Host {
		return fmt.Errorf("the Secret %s holds the credential for %s (annotation %s), which would be overwritten: set "+
			"--secret-name to another name, or use --target %[2]s if both hosts get the same certificate",
			t.SecretName, printable(c.secretFor), egress.AnnotationHost)
	}
	for n := range c.egressTargets {
		other := &c.egressTargets[n]
		if !named && other.Name != t.Host && egress.DefaultSecretName(other.Name) == t.SecretName &&
			egress.UsesDefaultSecret(other) {
			return fmt.Errorf(
				"the Secret %s is also the default Secret of the EgressTarget %s and would be overwritten: set "+
					"--secret-name to another name, and name it for %s in the annotation %s or in its EgressTarget",
				t.SecretName, other.Name, t.Host, egress.AnnotationSecret)
		}
	}
	return nil
}

// lookForOverwrite checks whether another host uses the Secret of t, if there is a kubeconfig. Read
// errors are only findings, because the command works without a cluster.
func (f *secretFlags) lookForOverwrite(ctx context.Context, t egress.Target) ([]credential.Finding, error) {
	namespace, connected, err := f.namespaceOf(f.namespace)
	if err != nil {
		return nil, err
	}
	if !connected {
		return nil, nil
	}
	found, err := f.readForOverwrite(ctx, namespace, t.SecretName)
	if refusal := found.checkOverwrite(t, f.secretName != ""); refusal != nil {
		return nil, notFine(refusal)
	}
	if err != nil {
		return []credential.Finding{
			{
				Message: fmt.Sprintf("can't check whether another host uses the Secret %s in the namespace %s: %s",
					t.SecretName, namespace, printable(err.Error())),
			},
		}, nil
	}
	return nil, nil
}

// namespaceOf returns the namespace that kubectl apply would use, and whether a kubeconfig names a
// cluster. It ignores a service account unless flags ask for a cluster: a job that prints a
// manifest often has one by chance.
func (f *connectionFlags) namespaceOf(named string) (namespace string, connected bool, err error) {
	config := clientConfig(f.kubeconfig, f.context)
	raw, err := config.RawConfig()
	if err != nil {
		return "", false, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if len(raw.Contexts) == 0 && f.context == "" {
		return "", false, nil
	}
	if named != "" {
		return named, true, nil
	}
	namespace, _, err = config.Namespace()
	return namespace, true, err
}

// readForOverwrite reads the metadata of the Secret, never its data, and the EgressTargets of the
// namespace. It returns what it could read, and the first error.
func (f *secretFlags) readForOverwrite(ctx context.Context, namespace, secretName string) (inCluster, error) {
	config, err := f.config(overwriteTimeout)
	if err != nil {
		return inCluster{}, err
	}
	secrets, err := metadata.NewForConfig(config)
	if err != nil {
		return inCluster{}, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return inCluster{}, err
	}
	var found inCluster
	secret, secretErr := secrets.Resource(
		schema.GroupVersionResource{Version: "v1", Resource: "secrets"},
	).Namespace(namespace).Get(ctx, secretName, metav1.GetOptions{})
	if secretErr == nil {
		found.secretFor = secret.Annotations[egress.AnnotationHost]
	}
	list, listErr := objects.Resource(
		v1alpha1.GroupVersion().WithResource("egresstargets")).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if listErr == nil {
		var typed v1alpha1.EgressTargetList
		listErr = runtime.DefaultUnstructuredConverter.FromUnstructured(list.UnstructuredContent(), &typed)
		found.egressTargets = typed.Items
	}
	return found, cmp.Or(unlessMissing(secretErr), unlessMissing(listErr))
}

// unlessMissing returns nil if the API server reports that the object or its kind doesn't exist.
func unlessMissing(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
