package chart

import (
	"context"
	"fmt"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func testAccount(t *testing.T, c cluster) {
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
			return account.Patch(ctx, object, client.RawPatch("application/merge-patch+json", []byte(`{"metadata": {"annotations": {"a": "b"}}}`)), client.DryRunAll)
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

	tests := map[string]struct {
		do      func(ctx context.Context, account client.Client) error
		allowed bool
	}{
		"list its webhook configuration by name":  {do: list(&admissionregistrationv1.MutatingWebhookConfigurationList{}, byName(configurationName)), allowed: true},
		"write its webhook configuration":         {do: patch(configuration(configurationName)), allowed: true},
		"delete its webhook configuration":        {do: remove(configuration(configurationName))},
		"list all webhook configurations":         {do: list(&admissionregistrationv1.MutatingWebhookConfigurationList{})},
		"list another webhook configuration":      {do: list(&admissionregistrationv1.MutatingWebhookConfigurationList{}, byName("another"))},
		"write another webhook configuration":     {do: patch(configuration("another"))},
		"create a webhook configuration":          {do: create(configuration("third"))},
		"list its CA by name":                     {do: list(&corev1.SecretList{}, own, byName("mtls-egress-webhook-ca")), allowed: true},
		"create its CA":                           {do: create(secret(namespace, "new")), allowed: true},
		"renew its CA":                            {do: replace(secret(namespace, "mtls-egress-webhook-ca")), allowed: true},
		"delete its CA":                           {do: remove(secret(namespace, "mtls-egress-webhook-ca"))},
		"write another Secret of its namespace":   {do: replace(secret(namespace, "another"))},
		"list the Secrets of its namespace":       {do: list(&corev1.SecretList{}, own)},
		"list all Secrets":                        {do: list(&corev1.SecretList{})},
		"list the Secrets of another namespace":   {do: list(&corev1.SecretList{}, client.InNamespace("account"))},
		"create a Secret in another namespace":    {do: create(secret("account", "new"))},
		"write a Secret of that name elsewhere":   {do: replace(secret("account", "mtls-egress-webhook-ca"))},
		"become the leader":                       {do: create(lease(namespace, "new")), allowed: true},
		"stay the leader":                         {do: replace(lease(namespace, "mtls-egress-webhook")), allowed: true},
		"take another Lease":                      {do: replace(lease(namespace, "another"))},
		"list the mesh configuration by name":     {do: list(&corev1.ConfigMapList{}, root, byName("istio")), allowed: true},
		"list another ConfigMap beside it":        {do: list(&corev1.ConfigMapList{}, root, byName("istio-ca-root-cert"))},
		"list the ConfigMaps beside it":           {do: list(&corev1.ConfigMapList{}, root)},
		"list all ConfigMaps":                     {do: list(&corev1.ConfigMapList{})},
		"write the mesh configuration":            {do: patch(meshConfig)},
		"delete the mesh configuration":           {do: remove(meshConfig)},
		"list EgressTargets":                      {do: list(egressTargets.DeepCopy()), allowed: true},
		"list Pods":                               {do: list(&corev1.PodList{}), allowed: true},
		"create a Pod":                            {do: create(newPod("account", "pod", nil))},
		"delete a namespace":                      {do: remove(&corev1.Namespace{ObjectMeta: named("", "account")})},
		"switch its own protection off":           {do: patch(&corev1.Namespace{ObjectMeta: named("", "account")})},
		"change the policy that it is subject to": {do: patch(&admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: named("", "mtls-egress-webhook-realised")})},
		"give itself a role":                      {do: patch(roleBinding())},
	}
	account := c.account(t, accountName)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.do(t.Context(), account)
			switch {
			case test.allowed && err != nil:
				t.Error(err)
			case !test.allowed && !apierrors.IsForbidden(err):
				t.Errorf("error %v: want it forbidden", err)
			}
		})
	}
}

func roleBinding() *unstructured.Unstructured {
	binding := &unstructured.Unstructured{}
	binding.SetAPIVersion("rbac.authorization.k8s.io/v1")
	binding.SetKind("ClusterRoleBinding")
	binding.SetName("mtls-egress-webhook-controller")
	return binding
}
