package admission_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
)

// refused waits until the annotated Pod is refused with a message, as a dry run.
func (w *world) refused(want string) {
	w.Helper()
	await.Eventually(w, "a Pod is refused", func() error {
		pod := annotated("refused")
		pod.Namespace = w.namespace
		if err := w.Create(w.Context(), pod, client.DryRunAll); !apierrors.IsForbidden(err) ||
			!strings.Contains(err.Error(), want) {
			return fmt.Errorf("the Pod gets %w, want it refused with %q", err, want)
		}
		return nil
	})
}

func (w *world) allowed() {
	w.Helper()
	await.Eventually(w, "a Pod is admitted", func() error {
		pod := annotated("admitted")
		pod.Namespace = w.namespace
		return w.Create(w.Context(), pod, client.DryRunAll)
	})
}

// TestANamespaceReachesWhatItsAnnotationLists changes the annotation while the webhook runs, and
// Pods do.
func TestANamespaceReachesWhatItsAnnotationLists(t *testing.T) {
	w := newWorld(t)
	w.credential()
	w.create(annotated("before", withSidecar))
	w.programmed()

	const annotate = "mtls.egress/allowed-targets="
	before := w.admissions("kind=Pod", "decision=refused", "reason=not-allowed")
	w.kubectl("annotate", "namespace", w.namespace, annotate+"api.bank.example, *.partner.example")
	w.refused(
		"metadata.annotations[mtls.egress/target]: Forbidden: namespace " + w.namespace + " may not reach " +
			"external.system.com: neither the Namespace's annotation mtls.egress/allowed-targets nor policy.allowedTargets in " +
			"the chart's values has an entry that matches it. A user who may change the Namespace object can add it to the " +
			"annotation; a cluster administrator can add it to policy.allowedTargets in the chart's values",
	)
	if after := w.admissions("kind=Pod", "decision=refused", "reason=not-allowed"); after <= before {
		t.Errorf("%v refusals are counted, before %v", after, before)
	}
	deployment := annotatedDeployment("shop")
	deployment.Namespace = w.namespace
	if err := w.Create(t.Context(), deployment, client.DryRunAll); !apierrors.IsForbidden(err) ||
		!strings.Contains(err.Error(), "spec.template.metadata.annotations[mtls.egress/target]: Forbidden") {
		t.Errorf("the Deployment gets %v, want it refused where its mistake is", err)
	}
	// What runs is closed: a list that became shorter holds for Pods that were admitted before.
	w.egressTarget(host, v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "NotAllowed")
	await.Eventually(w, "the ServiceEntry is gone", func() error {
		if objects := w.istioObjects(); slices.Contains(objects, "serviceentry.networking.istio.io/mtls-egress-"+host) {
			return fmt.Errorf("the objects are %q", objects)
		}
		return nil
	})

	w.kubectl("annotate", "--overwrite", "namespace", w.namespace, annotate+"api.bank.example, *.system.com")
	w.allowed()
	w.programmed()
}

// TestWhoDeploysCantWidenTheList: the roles that Kubernetes has for the people of a namespace don't
// write the Namespace itself.
func TestWhoDeploysCantWidenTheList(t *testing.T) {
	w := newWorld(t)
	// Those that edit and admin are made of, as nobody here makes them:
	// https://kubernetes.io/docs/reference/access-authn-authz/rbac/#user-facing-roles
	for role, right := range map[string]string{
		"system:aggregate-to-edit":  "pods",
		"system:aggregate-to-admin": "rolebindings",
	} {
		for _, part := range []string{"system:aggregate-to-view", role} {
			w.create(&rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{GenerateName: "role-"},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: part},
				Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "who-has-" + role}},
			})
		}
		await.Eventually(w, "the role "+role+" counts", func() error {
			_, _, err := installed.Kubectl(t.Context(), "--as=who-has-"+role, "--namespace", w.namespace, "auth",
				"can-i", "create", right)
			return err
		})
		_, said, err := installed.Kubectl(t.Context(), "--as=who-has-"+role, "annotate", "namespace", w.namespace,
			"mtls.egress/allowed-targets=*")
		if err == nil || !strings.Contains(said, "cannot patch resource \"namespaces\"") {
			t.Errorf("%s annotates the Namespace and is told %q", role, said)
		}
	}
	if _, said, err := installed.Kubectl(
		t.Context(), "annotate", "namespace", w.namespace, "mtls.egress/allowed-targets=*",
	); err != nil {
		t.Errorf("an administrator can't either: %s", said)
	}
}

// TestTheClusterAllowsSomeHostsOnly has webhook and controller run with the chart's values of a
// cluster that denies by default.
func TestTheClusterAllowsSomeHostsOnly(t *testing.T) {
	w := newWorld(t)
	again := func(ctx context.Context, values ...string) {
		t.Helper()
		if err := errors.Join(
			installed.StopWebhook(), installed.StopControllers(), installed.Upgrade(ctx, values...),
		); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(installed.StartWebhook(ctx), installed.StartControllers(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	again(t.Context(), "policy.otherTargets=Deny", "policy.allowedTargets={**.bank.example,"+installation.ProbeHost+"}")
	t.Cleanup(func() { again(context.WithoutCancel(t.Context())) })
	w.refused("no entry of policy.allowedTargets in the chart's values matches it, and policy.otherTargets is Deny")
	pod := annotated("bank")
	pod.Annotations["mtls.egress/target"] = "eu.api.bank.example"
	w.create(pod)
	w.kubectl("annotate", "namespace", w.namespace, "mtls.egress/allowed-targets="+host)
	w.allowed()
}
