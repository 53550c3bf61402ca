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

// overwriteTimeout bounds each request that looks whether the Secret is in use: the command needs
// no cluster, and must not wait long for one.
const overwriteTimeout = 5 * time.Second

// markFor notes in the manifest of a Secret which host it is for.
func markFor(secret map[string]any, host string) map[string]any {
	if fields, ok := secret["metadata"].(map[string]any); ok {
		fields["annotations"] = map[string]any{egress.AnnotationHost: host}
	}
	return secret
}

// inCluster is what a cluster has in the place of the manifests, as far as the user may read it.
type inCluster struct {
	// secretFor is the host that the Secret of the name is marked for; "" without a Secret or a mark.
	secretFor     string
	egressTargets []v1alpha1.EgressTarget
}

// checkOverwrite refuses a Secret that another host uses: one that was made for another host, or
// whose name the EgressTarget of another host has by default, while no name is given here.
func (c inCluster) checkOverwrite(t egress.Target, named bool) error {
	if c.secretFor != "" && c.secretFor != t.Host {
		return fmt.Errorf("the Secret %s holds the credential for %s (annotation %s), and would be overwritten: give --secret-name with another name, or --target %[2]s if both hosts are shown the same certificate",
			t.SecretName, printable(c.secretFor), egress.AnnotationHost)
	}
	for n := range c.egressTargets {
		other := &c.egressTargets[n]
		if !named && other.Name != t.Host && egress.DefaultSecretName(other.Name) == t.SecretName && egress.UsesDefaultSecret(other) {
			return fmt.Errorf("the Secret %s is that of the EgressTarget %s too, which names none, and would be overwritten: give --secret-name with another name, and name it for %s in the annotation %s or in its EgressTarget",
				t.SecretName, other.Name, t.Host, egress.AnnotationSecret)
		}
	}
	return nil
}

// lookForOverwrite asks the cluster of the kubeconfig, if there is one, whether another host uses
// the Secret of t. What can't be read is a finding: the command works without a cluster.
func (f *secretFlags) lookForOverwrite(ctx context.Context, t egress.Target) ([]credential.Finding, error) {
	namespace, connected, err := f.namespaceOf(f.namespace)
	if err != nil {
		return nil, usageError(err)
	}
	if !connected {
		return nil, nil
	}
	found, err := f.readForOverwrite(ctx, namespace, t.SecretName)
	if refusal := found.checkOverwrite(t, f.secretName != ""); refusal != nil {
		return nil, refusal
	}
	if err != nil {
		return []credential.Finding{{Message: fmt.Sprintf("whether another host uses the Secret %s of the namespace %s could not be looked up: %s", t.SecretName, namespace, printable(err.Error()))}}, nil
	}
	return nil, nil
}

// namespaceOf is the namespace in which kubectl apply would put manifests, and whether a kubeconfig
// names a cluster at all. A service account counts only where it is asked for: a job that prints a
// manifest has one by chance.
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

// readForOverwrite reads the metadata of the Secret, never what it holds, and the EgressTargets of
// the namespace. It returns what it could read, and why it could not read the rest.
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
	secret, secretErr := secrets.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(namespace).Get(ctx, secretName, metav1.GetOptions{})
	if secretErr == nil {
		found.secretFor = secret.Annotations[egress.AnnotationHost]
	}
	list, listErr := objects.Resource(v1alpha1.GroupVersion().WithResource("egresstargets")).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if listErr == nil {
		var typed v1alpha1.EgressTargetList
		listErr = runtime.DefaultUnstructuredConverter.FromUnstructured(list.UnstructuredContent(), &typed)
		found.egressTargets = typed.Items
	}
	return found, cmp.Or(unlessMissing(secretErr), unlessMissing(listErr))
}

// unlessMissing drops the API server's own answer that there is no such object, or no such kind.
// Whatever else failed is kept.
func unlessMissing(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
