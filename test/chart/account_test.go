package chart

import (
	"context"
	"fmt"
	"slices"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func testAccounts(t *testing.T, c cluster) {
	c.namespace(t, "account", nil)
	named := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	configuration := func(name string) *admissionregistrationv1.MutatingWebhookConfiguration {
		return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: named("", name)}
	}
	secret := func(namespace, name string) *corev1.Secret { return &corev1.Secret{ObjectMeta: named(namespace, name)} }
	lease := func(namespace, name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: named(namespace, name)}
	}
	egressTargets := &unstructured.UnstructuredList{}
	egressTargets.SetAPIVersion("mtls.egress/v1alpha1")
	egressTargets.SetKind("EgressTargetList")
	for _, object := range []client.Object{
		configuration("another"), secret(namespace, "another"), secret("account", "mtls-egress-webhook-ca"),
		lease(namespace, "another"),
	} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}

	list := func(objects client.ObjectList, options ...client.ListOption) func(context.Context, client.Client) error {
		return func(ctx context.Context, account client.Client) error { return account.List(ctx, objects, options...) }
	}
	create := func(object client.Object) func(context.Context, client.Client) error {
		return func(ctx context.Context, account client.Client) error {
			return account.Create(ctx, object, client.DryRunAll)
		}
	}
	replace := func(object client.Object) func(context.Context, client.Client) error {
		return func(ctx context.Context, account client.Client) error {
			if err := c.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
				return fmt.Errorf("reading it as an administrator: %w", err)
			}
			return account.Update(ctx, object, client.DryRunAll)
		}
	}
	patch := func(object client.Object) func(context.Context, client.Client) error {
		return func(ctx context.Context, account client.Client) error {
			return account.Patch(ctx, object,
				client.RawPatch("application/merge-patch+json", []byte(`{"metadata": {"annotations": {"a": "b"}}}`)),
				client.DryRunAll)
		}
	}
	remove := func(object client.Object) func(context.Context, client.Client) error {
		return func(ctx context.Context, account client.Client) error {
			return account.Delete(ctx, object, client.DryRunAll)
		}
	}
	byName := func(name string) client.ListOption { return client.MatchingFields{"metadata.name": name} }
	own, root := client.InNamespace(namespace), client.InNamespace("istio-system")
	meshConfig := &corev1.ConfigMap{ObjectMeta: named("istio-system", "istio")}

	leaseEvent := &corev1.Event{
		ObjectMeta:     named(namespace, "leader"),
		InvolvedObject: corev1.ObjectReference{Kind: "Lease", Namespace: namespace, Name: controllerName},
	}
	get := func(object client.Object) func(context.Context, client.Client) error {
		return func(ctx context.Context, account client.Client) error {
			return account.Get(ctx, client.ObjectKeyFromObject(object), object)
		}
	}

	// Each account is allowed what is listed under its name, and nothing else.
	webhook, controller, both := []string{webhookUser}, []string{controllerUser}, []string{webhookUser, controllerUser}
	nobody := []string(nil)
	tests := map[string]struct {
		do      func(ctx context.Context, account client.Client) error
		allowed []string
	}{
		"list the webhook configuration by name": {
			do:      list(&admissionregistrationv1.MutatingWebhookConfigurationList{}, byName(configurationName)),
			allowed: webhook,
		},
		"write the webhook configuration":  {do: patch(configuration(configurationName)), allowed: webhook},
		"delete the webhook configuration": {do: remove(configuration(configurationName)), allowed: nobody},
		"list all webhook configurations": {
			do:      list(&admissionregistrationv1.MutatingWebhookConfigurationList{}),
			allowed: nobody,
		},
		"list another webhook configuration": {
			do:      list(&admissionregistrationv1.MutatingWebhookConfigurationList{}, byName("another")),
			allowed: nobody,
		},
		"write another webhook configuration": {do: patch(configuration("another")), allowed: nobody},
		"create a webhook configuration":      {do: create(configuration("third")), allowed: nobody},
		"list the CA by name": {
			do:      list(&corev1.SecretList{}, own, byName("mtls-egress-webhook-ca")),
			allowed: webhook,
		},
		"create the CA": {do: create(secret(namespace, "new")), allowed: webhook},
		"renew the CA": {
			do:      replace(secret(namespace, "mtls-egress-webhook-ca")),
			allowed: webhook,
		},
		"delete the CA":                         {do: remove(secret(namespace, "mtls-egress-webhook-ca")), allowed: nobody},
		"write another Secret of the namespace": {do: replace(secret(namespace, "another")), allowed: nobody},
		"list the Secrets of the namespace":     {do: list(&corev1.SecretList{}, own), allowed: nobody},
		"list all Secrets":                      {do: list(&corev1.SecretList{}), allowed: nobody},
		"list the Secrets of another namespace": {
			do:      list(&corev1.SecretList{}, client.InNamespace("account")),
			allowed: nobody,
		},
		"read a credential by name": {
			do:      get(secret("account", "mtls-egress-webhook-ca")),
			allowed: controller,
		},
		"read another Secret of the namespace": {do: get(secret(namespace, "another")), allowed: controller},
		"create a Secret in another namespace": {do: create(secret("account", "new")), allowed: nobody},
		"write a Secret of that name elsewhere": {
			do:      replace(secret("account", "mtls-egress-webhook-ca")),
			allowed: nobody,
		},
		"become the leader":                   {do: create(lease(namespace, "new")), allowed: controller},
		"stay the leader":                     {do: replace(lease(namespace, controllerName)), allowed: controller},
		"take another Lease":                  {do: replace(lease(namespace, "another")), allowed: nobody},
		"tell who is the leader":              {do: create(leaseEvent), allowed: controller},
		"list the mesh configuration by name": {do: list(&corev1.ConfigMapList{}, root, byName("istio")), allowed: both},
		"list another ConfigMap beside it": {
			do:      list(&corev1.ConfigMapList{}, root, byName("istio-ca-root-cert")),
			allowed: nobody,
		},
		"list the ConfigMaps beside it": {do: list(&corev1.ConfigMapList{}, root), allowed: nobody},
		"list all ConfigMaps":           {do: list(&corev1.ConfigMapList{}), allowed: nobody},
		"write the mesh configuration":  {do: patch(meshConfig), allowed: nobody},
		"delete the mesh configuration": {do: remove(meshConfig), allowed: nobody},
		"list the Nodes":                {do: list(&corev1.NodeList{}), allowed: controller},
		"list the ServiceCIDRs":         {do: list(&networkingv1.ServiceCIDRList{}), allowed: controller},
		"list EgressTargets":            {do: list(egressTargets.DeepCopy()), allowed: both},
		"read a new namespace": {
			do:      get(&corev1.Namespace{ObjectMeta: named("", "account")}),
			allowed: webhook,
		},
		"list Pods":     {do: list(&corev1.PodList{}), allowed: controller},
		"list Services": {do: list(&corev1.ServiceList{}), allowed: controller},
		"create a Pod":  {do: create(newPod("account", "pod", nil)), allowed: nobody},
		"delete a namespace": {
			do:      remove(&corev1.Namespace{ObjectMeta: named("", "account")}),
			allowed: nobody,
		},
		"switch its own protection off": {
			do:      patch(&corev1.Namespace{ObjectMeta: named("", "account")}),
			allowed: nobody,
		},
		"change the policy that it is subject to": {
			do: patch(&admissionregistrationv1.ValidatingAdmissionPolicy{
				ObjectMeta: named("", "mtls-egress-webhook-injected"),
			}),
			allowed: nobody,
		},
		"give itself a role": {do: patch(roleBinding()), allowed: nobody},
	}
	for _, user := range both {
		account := c.account(t, user)
		for name, test := range tests {
			t.Run(user+": "+name, func(t *testing.T) {
				err := test.do(t.Context(), account)
				if meta.IsNoMatchError(err) {
					t.Skip("this API server doesn't serve the kind")
				}
				switch allowed := slices.Contains(test.allowed, user); {
				case allowed && err != nil:
					t.Error(err)
				case !allowed && !apierrors.IsForbidden(err):
					t.Errorf("error %v: want it forbidden", err)
				}
			})
		}
	}
}

func roleBinding() *unstructured.Unstructured {
	binding := &unstructured.Unstructured{}
	binding.SetAPIVersion("rbac.authorization.k8s.io/v1")
	binding.SetKind("ClusterRoleBinding")
	binding.SetName("mtls-egress-webhook-controller")
	return binding
}
