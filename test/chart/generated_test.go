package chart

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/test/await"
)

// act is what a user does to a generated object.
type act func(ctx context.Context, user client.Client, object *unstructured.Unstructured) error

func update(change func(object *unstructured.Unstructured)) act {
	return func(ctx context.Context, user client.Client, object *unstructured.Unstructured) error {
		change(object)
		return user.Update(ctx, object)
	}
}

func remove(ctx context.Context, user client.Client, object *unstructured.Unstructured) error {
	return user.Delete(ctx, object)
}

func changeSpec(object *unstructured.Unstructured) {
	object.Object["spec"] = istioSpec(object.GetKind(), "other.example.com")
}

func addLabel(object *unstructured.Unstructured, key, value string) {
	labels := object.GetLabels()
	labels[key] = value
	object.SetLabels(labels)
}

func testGeneratedObjects(t *testing.T, c cluster) {
	const (
		somebody            = "team-admin"
		namespaceController = "system:serviceaccount:kube-system:namespace-controller"
		garbageCollector    = "system:serviceaccount:kube-system:generic-garbage-collector"
	)
	unlabeled := func(object *unstructured.Unstructured) { object.SetLabels(nil) }
	tests := map[string]struct {
		user   string
		act    act
		before func(object *unstructured.Unstructured) // what is different about the object
		labels map[string]string                       // of the namespace
		listed bool                                    // whether policy.exemptNamespaces of the chart has the namespace
		ends   bool                                    // whether the namespace is being deleted
		denied bool
		name   string   // in the message, default: the object's
		kinds  []string // default: all three
	}{
		"somebody changes the spec": {user: somebody, act: update(changeSpec), denied: true},
		"somebody deletes it":       {user: somebody, act: remove, denied: true},
		"somebody deletes all of them at once": {
			user: somebody,
			act: func(ctx context.Context, user client.Client, object *unstructured.Unstructured) error {
				return user.DeleteAllOf(ctx, object, client.InNamespace(object.GetNamespace()))
			},
			denied: true, name: "Unknown",
		},
		"somebody removes the spec": {
			user: somebody, act: update(func(object *unstructured.Unstructured) { delete(object.Object, "spec") }), denied: true,
			kinds: []string{mesh.KindVirtualService, mesh.KindDestinationRule}, // Istio's schema refuses a ServiceEntry without
		},
		"somebody takes the label away": {user: somebody, act: update(unlabeled), denied: true},
		"somebody changes the label": {
			user: somebody,
			act: update(func(object *unstructured.Unstructured) {
				object.SetLabels(map[string]string{egress.LabelManagedBy: "somebody"})
			}),
			denied: true,
		},
		"somebody takes the owner away": {
			user:   somebody,
			act:    update(func(object *unstructured.Unstructured) { object.SetOwnerReferences(nil) }),
			denied: true,
		},
		"somebody adds an owner": {
			user: somebody,
			act: update(func(object *unstructured.Unstructured) {
				object.SetOwnerReferences(append(object.GetOwnerReferences(), controlledBy("apps/v1", "Deployment")...))
			}),
			denied: true,
		},
		"somebody gives it to another revision of Istio": {
			user:   somebody,
			act:    update(func(object *unstructured.Unstructured) { addLabel(object, "istio.io/rev", "nobody") }),
			denied: true,
		},
		"somebody gives it to another revision of Istio, by a patch": {
			user: somebody,
			act: func(ctx context.Context, user client.Client, object *unstructured.Unstructured) error {
				return user.Patch(ctx, object,
					client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"istio.io/rev":"nobody"}}}`)))
			},
			denied: true,
		},
		"somebody changes a label of Istio": {
			user:   somebody,
			act:    update(func(object *unstructured.Unstructured) { addLabel(object, "istio.io/rev", "b") }),
			denied: true,
			before: func(object *unstructured.Unstructured) { addLabel(object, "istio.io/rev", "a") },
		},
		"somebody takes a label of Istio away": {
			user: somebody, denied: true,
			act: update(func(object *unstructured.Unstructured) {
				object.SetLabels(map[string]string{egress.LabelManagedBy: egress.ValueManagedBy})
			}),
			before: func(object *unstructured.Unstructured) { addLabel(object, "istio.io/rev", "a") },
		},
		"somebody adds a label of a part of Istio": {
			user:   somebody,
			act:    update(func(object *unstructured.Unstructured) { addLabel(object, "networking.istio.io/a", "") }),
			denied: true,
		},
		"somebody adds an annotation of Istio": {
			user: somebody, denied: true,
			act: update(func(object *unstructured.Unstructured) { object.SetAnnotations(map[string]string{"istio.io/a": ""}) }),
		},
		"somebody adds an annotation of a part of Istio": {
			user: somebody, denied: true,
			act: update(func(object *unstructured.Unstructured) {
				object.SetAnnotations(map[string]string{"internal.networking.istio.io/a": "b"})
			}),
		},
		"somebody takes an annotation of Istio away": {
			user: somebody, act: update(func(object *unstructured.Unstructured) { object.SetAnnotations(nil) }), denied: true,
			before: func(object *unstructured.Unstructured) {
				object.SetAnnotations(map[string]string{"networking.istio.io/a": "b"})
			},
		},
		"somebody adds a finalizer": {
			user: somebody, denied: true,
			act: update(func(object *unstructured.Unstructured) {
				object.SetFinalizers([]string{"example.com/a", "example.com/b"})
			}),
			before: func(object *unstructured.Unstructured) { object.SetFinalizers([]string{"example.com/a"}) },
		},
		"somebody deletes the anchor": {
			user:   somebody,
			act:    remove,
			before: func(object *unstructured.Unstructured) { object.SetName(egress.AnchorName) },
			denied: true,
		},
		"somebody changes the spec by an older API version": {
			user: somebody,
			act: update(func(object *unstructured.Unstructured) {
				object.SetAPIVersion("networking.istio.io/v1alpha3")
				changeSpec(object)
			}),
			denied: true,
		},
		"the garbage collector deletes it": {user: garbageCollector, act: remove, denied: true},
		"the namespace controller deletes it while the namespace lives": {
			user:   namespaceController,
			act:    remove,
			denied: true,
		},
		"the service account of the same name in another namespace": {
			user: "system:serviceaccount:project:mtls-egress-webhook", act: update(changeSpec), denied: true,
		},
		"the protection is on by name": {
			user: somebody, act: remove, labels: map[string]string{"mtls.egress/protection": "on"}, listed: true, denied: true,
		},
		"somebody changes it where the label alone says that the protection is off": {
			user: somebody, act: update(changeSpec), labels: map[string]string{"mtls.egress/protection": "off"}, denied: true,
		},
		"somebody deletes it where the label alone says that the protection is off": {
			user: somebody, act: remove, labels: map[string]string{"mtls.egress/protection": "off"}, denied: true,
		},
		"somebody changes it where the chart alone says that the protection may be off": {
			user: somebody, act: update(changeSpec), listed: true, denied: true,
		},
		"somebody deletes it where the chart alone says that the protection may be off": {
			user:   somebody,
			act:    remove,
			listed: true,
			denied: true,
		},
		"somebody changes it in a namespace that is being deleted": {
			user:   somebody,
			act:    update(changeSpec),
			ends:   true,
			denied: true,
		},

		"somebody adds a label and an annotation": {
			user: somebody,
			act: update(func(object *unstructured.Unstructured) {
				object.SetLabels(map[string]string{egress.LabelManagedBy: egress.ValueManagedBy, "team": "a"})
				object.SetAnnotations(map[string]string{"example.com/a": "b"})
			}),
		},
		"somebody takes a finalizer away": {
			user: somebody,
			act:  update(func(object *unstructured.Unstructured) { object.SetFinalizers([]string{"example.com/b"}) }),
			before: func(object *unstructured.Unstructured) {
				object.SetFinalizers([]string{"example.com/a", "example.com/b"})
			},
		},
		"somebody adds a label and an annotation that are only like Istio's": {
			user: somebody,
			act: update(func(object *unstructured.Unstructured) {
				object.SetLabels(map[string]string{
					egress.LabelManagedBy:      egress.ValueManagedBy,
					"myistio.io/rev":           "a",
					"istio.io.example.com/rev": "a",
					"istio.io":                 "a",
				})
				object.SetAnnotations(map[string]string{"example.com/istio.io": "b", "istio": "c"})
			}),
		},
		"somebody keeps the label of Istio that it has": {
			user:   somebody,
			before: func(object *unstructured.Unstructured) { addLabel(object, "istio.io/rev", "a") },
			act:    update(func(object *unstructured.Unstructured) { addLabel(object, "team", "a") }),
		},
		"somebody writes it as it is": {user: somebody, act: update(func(*unstructured.Unstructured) {})},
		"Istio writes the status": {
			user: "system:serviceaccount:istio-system:istiod",
			act: func(ctx context.Context, user client.Client, object *unstructured.Unstructured) error {
				object.Object["status"] = map[string]any{"validationMessages": []any{}}
				return user.Status().Update(ctx, object)
			},
		},
		"the webhook changes the spec":    {user: webhookUser, act: update(changeSpec), denied: true},
		"the controller changes the spec": {user: controllerUser, act: update(changeSpec)},
		"the controller changes all of the metadata": {
			user: controllerUser,
			act: update(func(object *unstructured.Unstructured) {
				addLabel(object, "istio.io/rev", "a")
				object.SetFinalizers([]string{"example.com/a"})
				object.SetOwnerReferences(nil)
			}),
		},
		"the controller deletes it": {user: controllerUser, act: remove},
		"somebody changes it where the protection is off": {
			user: somebody, act: update(changeSpec), labels: map[string]string{"mtls.egress/protection": "off"}, listed: true,
		},
		"somebody deletes it where the protection is off": {
			user: somebody, act: remove, labels: map[string]string{"mtls.egress/protection": "off"}, listed: true,
		},
		"the namespace controller deletes it with its namespace": {
			user: namespaceController,
			act:  remove,
			ends: true,
		},
		"a controller manager without accounts of its own deletes it with its namespace": {
			user: "system:kube-controller-manager",
			act:  remove,
			ends: true,
		},
		"somebody changes an object without the label": {
			user:   somebody,
			act:    update(changeSpec),
			before: unlabeled,
		},
		"somebody changes an object whose name is none of ours": {
			user:   somebody,
			act:    update(changeSpec),
			before: func(object *unstructured.Unstructured) { object.SetName("mtls-egresses") },
		},
		"somebody deletes an object whose name is none of ours": {
			user:   somebody,
			act:    remove,
			before: func(object *unstructured.Unstructured) { object.SetName("external.system.com") },
		},
		"somebody deletes an object without owner": {
			user: somebody, act: remove, before: func(object *unstructured.Unstructured) { object.SetOwnerReferences(nil) },
		},
		"somebody deletes an object with another owner": {
			user: somebody, act: remove, before: func(object *unstructured.Unstructured) {
				object.SetOwnerReferences(controlledBy("apps/v1", "Deployment"))
			},
		},
		"somebody deletes an object whose owner is of our kind in another group": {
			user: somebody, act: remove,
			before: func(object *unstructured.Unstructured) {
				owners := object.GetOwnerReferences()
				owners[0].APIVersion = "mtls.egress.example.com/v1"
				object.SetOwnerReferences(owners)
			},
		},
		"somebody puts the label on an object of his own": {
			user: somebody, before: unlabeled,
			act: update(func(object *unstructured.Unstructured) {
				object.SetLabels(map[string]string{egress.LabelManagedBy: egress.ValueManagedBy})
				changeSpec(object)
			}),
		},
	}
	number, listed := 0, 0
	for name, test := range tests {
		kinds := test.kinds
		if kinds == nil {
			kinds = []string{mesh.KindVirtualService, mesh.KindDestinationRule, mesh.KindServiceEntry}
		}
		for _, kind := range kinds {
			number++
			in := fmt.Sprintf("generated-%d", number)
			if test.listed {
				in = exemptNamespace("generated", listed)
				listed++
			}
			t.Run(name+": "+kind, func(t *testing.T) {
				c.namespace(t, in, test.labels)
				object := generated(in, kind)
				if test.before != nil {
					test.before(object)
				}
				if err := c.as(t, controllerUser).Create(t.Context(), object); err != nil {
					t.Fatal(err)
				}
				if test.ends {
					c.end(t, object)
				}
				user := c.as(t, test.user)
				if test.user == controllerUser || test.user == namespaceController {
					user = c.account(t, test.user)
				}
				want := ""
				if test.denied {
					want = protection(kind, cmp.Or(test.name, object.GetName()), object.GetName(),
						wayAround(in, test.labels, test.listed))
				}
				got := ""
				if err := test.act(t.Context(), user, object); err != nil {
					got = err.Error()
				}
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}

	t.Run("the way around, as the message tells it", func(t *testing.T) {
		in := exemptNamespace("generated", listed)
		c.namespace(t, in, nil)
		object := generated(in, mesh.KindServiceEntry)
		if err := c.as(t, controllerUser).Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		_, command, _ := strings.Cut(wayAround(in, nil, true), ": kubectl ")
		c.kubectl(t, strings.Fields(command)...)
		await.True(t, "the protection is off",
			func(ctx context.Context) bool { return c.Delete(ctx, object, client.DryRunAll) == nil })
		c.kubectl(t, "label", "namespace", in, "mtls.egress/protection-")
		await.True(t, "the protection is on again", func(ctx context.Context) bool {
			return denied(c.Delete(ctx, object, client.DryRunAll), "mtls-egress-webhook-generated-objects")
		})
	})
}

// end deletes the namespace of the object. Without a controller manager the namespace stays, as one
// that is being deleted.
func (c cluster) end(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	if err := c.Delete(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: object.GetNamespace()},
	}); err != nil {
		t.Fatal(err)
	}
	await.True(t, "the API server knows that the namespace is being deleted", func(ctx context.Context) bool {
		return c.Delete(ctx, object, client.DryRunAll) == nil
	})
}

// protection is the whole message of a refusal. The API server puts a name in front of it, the
// policy one into it.
func protection(kind, requested, name, wayAround string) string {
	const policy = "mtls-egress-webhook-generated-objects"
	resource := map[string]string{
		mesh.KindVirtualService:  "virtualservices",
		mesh.KindDestinationRule: "destinationrules",
		mesh.KindServiceEntry:    "serviceentries",
	}[kind]
	return fmt.Sprintf(`%s.networking.istio.io "%s" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' `+
		`denied request: %s %s is generated from an EgressTarget and provides mutual TLS for Pods: without it, or with `+
		`another spec, owner, finalizer, or Istio label or annotation, their calls fail or leave in plain text. Change the `+
		`EgressTarget instead, or delete it when no Pod uses the host anymore. %s`,
		resource, requested, policy, policy, kind, name, wayAround)
}

// wayAround is the end of a refusal's message: which of the two keys is missing.
func wayAround(namespace string, labels map[string]string, listed bool) string {
	command := "kubectl label namespace " + namespace + " mtls.egress/protection=off"
	switch {
	case labels["mtls.egress/protection"] == "off":
		return "The namespace has the label mtls.egress/protection=off, which has an effect only for namespaces in the " +
			"chart's value policy.exemptNamespaces."
	case listed:
		return "The namespace is in the chart's value policy.exemptNamespaces, which has an effect " +
			"only together with its label: " + command
	}
	return "To write this object anyway, an administrator must exempt the namespace in two places: the chart's value " +
		"policy.exemptNamespaces, and its label: " + command
}
