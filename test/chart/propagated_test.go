package chart

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
)

func testPropagated(t *testing.T, c cluster) {
	c.namespace(t, "propagated", nil)
	const host = "external.system.com"
	asks := func(workload *unstructured.Unstructured) {
		workload.SetAnnotations(map[string]string{egress.AnnotationTarget: host})
	}
	propagated := func(workload *unstructured.Unstructured) {
		asks(workload)
		annotateTemplate(t, workload, egress.AnnotationTarget, host)
	}
	ownedAs := func(apiVersion, kind string) func(*unstructured.Unstructured) {
		return func(workload *unstructured.Unstructured) {
			asks(workload)
			workload.SetOwnerReferences(controlledBy(apiVersion, kind))
		}
	}
	apps := []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"}
	all := slices.Concat(apps, []string{"Job", "CronJob"})
	changeable := slices.Concat(apps, []string{"CronJob"})

	tests := map[string]struct {
		kinds     []string                                  // default: all six
		namespace string                                    // default: propagated
		before    func(workload *unstructured.Unstructured) // without it, the workload is created
		change    func(workload *unstructured.Unstructured)
		refused   bool
	}{
		"it asks for nothing": {change: func(*unstructured.Unstructured) {}},
		"it has another annotation of ours": {change: func(workload *unstructured.Unstructured) {
			workload.SetAnnotations(map[string]string{egress.AnnotationSecret: "partner"})
		}},
		"it was propagated": {change: propagated},
		"only the Pod template asks": {change: func(workload *unstructured.Unstructured) {
			annotateTemplate(t, workload, egress.AnnotationTarget, host)
		}},
		"the Pod template has its own annotation": {change: func(workload *unstructured.Unstructured) {
			asks(workload)
			annotateTemplate(t, workload, egress.AnnotationTarget, "api.example.org")
		}},
		"a namespace that the webhook leaves out, propagated": {namespace: "kube-system", change: propagated},
		// An expression that costs too much is an error, and an error refuses.
		"it has more annotations than an expression can look at": {change: func(workload *unstructured.Unstructured) {
			annotations := map[string]string{}
			for i := range 30000 {
				annotations[strconv.Itoa(i)] = ""
			}
			workload.SetAnnotations(annotations)
		}},
		"the ReplicaSet of a Deployment": {kinds: []string{"ReplicaSet"}, change: ownedAs("apps/v1", "Deployment")},
		"the Job of a CronJob":           {kinds: []string{"Job"}, change: ownedAs("batch/v1", "CronJob"), refused: true},

		"it asks": {change: asks, refused: true},
		"it asks with an empty value": {
			change: func(workload *unstructured.Unstructured) {
				workload.SetAnnotations(map[string]string{egress.AnnotationTarget: ""})
			},
			refused: true,
		},
		"the Pod template has other annotations": {
			change: func(workload *unstructured.Unstructured) {
				asks(workload)
				annotateTemplate(t, workload, egress.AnnotationSecret, "partner")
				annotateTemplate(t, workload, egress.AnnotationPropagated, "{}")
			},
			refused: true,
		},
		"a namespace that the webhook leaves out": {namespace: "kube-system", change: asks, refused: true},
		"the release namespace":                   {namespace: namespace, change: asks, refused: true},
		"it is an operator's":                     {change: ownedAs("example.com/v1", "App"), refused: true},
		"a ReplicaSet of a CronJob": {
			kinds:   []string{"ReplicaSet"},
			change:  ownedAs("batch/v1", "CronJob"),
			refused: true,
		},
		"a Job of a Deployment": {
			kinds:   []string{"Job"},
			change:  ownedAs("apps/v1", "Deployment"),
			refused: true,
		},
		"another kind, of a Deployment": {
			kinds:   []string{"Deployment", "StatefulSet", "DaemonSet", "CronJob"},
			change:  ownedAs("apps/v1", "Deployment"),
			refused: true,
		},
		"a ReplicaSet of a Deployment of another group": {
			kinds:   []string{"ReplicaSet"},
			change:  ownedAs("apps.example.com/v1", "Deployment"),
			refused: true,
		},
		"a Job of a CronJob of another group": {
			kinds:   []string{"Job"},
			change:  ownedAs("batch.example.com/v1", "CronJob"),
			refused: true,
		},
		"a ReplicaSet whose Deployment doesn't control it": {
			kinds: []string{"ReplicaSet"},
			change: func(workload *unstructured.Unstructured) {
				asks(workload)
				workload.SetOwnerReferences(ownedBy("apps/v1", "Deployment"))
			},
			refused: true,
		},
		"the annotation of a CronJob's Jobs is not that of their Pods": {
			kinds: []string{"CronJob"},
			change: func(workload *unstructured.Unstructured) {
				asks(workload)
				set(t, workload, host, "spec", "jobTemplate", "metadata", "annotations", egress.AnnotationTarget)
			},
			refused: true,
		},

		"the annotation comes, propagated": {
			kinds:  changeable,
			before: func(*unstructured.Unstructured) {},
			change: propagated,
		},
		"something else changes, propagated": {
			before: propagated,
			change: func(workload *unstructured.Unstructured) { workload.SetLabels(map[string]string{"a": "b"}) },
		},
		"something else changes, it asks for nothing": {
			before: func(*unstructured.Unstructured) {},
			change: func(workload *unstructured.Unstructured) { workload.SetLabels(map[string]string{"a": "b"}) },
		},
		"the annotation goes": {kinds: changeable, before: propagated, change: func(workload *unstructured.Unstructured) {
			workload.SetAnnotations(nil)
			unannotateTemplate(workload)
		}},
		"the annotation comes": {
			kinds:   changeable,
			before:  func(*unstructured.Unstructured) {},
			change:  asks,
			refused: true,
		},
		"the annotation of the Pod template goes": {
			kinds:   changeable,
			before:  propagated,
			change:  unannotateTemplate,
			refused: true,
		},
		"the annotation comes to a Job that exists, whose Pod template can't change": {
			kinds: []string{"Job"}, before: func(*unstructured.Unstructured) {}, change: asks,
		},
		"the ReplicaSet of a Deployment is scaled": {
			kinds: []string{"ReplicaSet"}, before: ownedAs("apps/v1", "Deployment"),
			change: func(workload *unstructured.Unstructured) { set(t, workload, int64(0), "spec", "replicas") },
		},
	}
	number := 0
	for name, test := range tests {
		kinds := test.kinds
		if kinds == nil {
			kinds = all
		}
		for _, kind := range kinds {
			number++
			object := fmt.Sprintf("workload-%d", number)
			t.Run(name+": "+kind, func(t *testing.T) {
				in := cmp.Or(test.namespace, "propagated")
				workload := newWorkload(kind, in, object)
				if test.before != nil {
					test.before(workload)
					if err := c.Create(t.Context(), workload); err != nil {
						t.Fatal(err)
					}
				}
				test.change(workload)
				var err error
				if test.before == nil {
					err = c.Create(t.Context(), workload, client.DryRunAll)
				} else {
					err = c.Update(t.Context(), workload, client.DryRunAll)
				}
				got, want := "", ""
				if err != nil {
					got = err.Error()
				}
				if test.refused {
					want = unpropagated(in, kind, object)
				}
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}

	t.Run("the last changes of what is being deleted", func(t *testing.T) {
		for _, kind := range changeable {
			workload := newWorkload(kind, "propagated", "deleted")
			propagated(workload)
			workload.SetFinalizers([]string{"example.com/finalizer"})
			if err := c.Create(t.Context(), workload); err != nil {
				t.Fatal(err)
			}
			if err := c.Delete(t.Context(), workload); err != nil {
				t.Fatal(err)
			}
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(workload), workload); err != nil {
				t.Fatal(err)
			}
			unannotateTemplate(workload)
			workload.SetFinalizers(nil)
			if err := c.Update(t.Context(), workload, client.DryRunAll); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	})

	t.Run("a name that the API server completes stands in the message", func(t *testing.T) {
		workload := newWorkload("Job", "propagated", "")
		workload.SetGenerateName("nightly-")
		set(t, workload, "nightly", "spec", "template", "metadata", "labels", "app")
		asks(workload)
		err := c.Create(t.Context(), workload, client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "denied request: Job nightly-") {
			t.Errorf("error %v", err)
		}
	})
}

// unpropagated is the whole message of a refusal.
func unpropagated(namespace, kind, name string) string {
	const policy = "mtls-egress-webhook-propagated"
	resource := map[string]string{
		"Deployment":  "deployments.apps",
		"StatefulSet": "statefulsets.apps",
		"DaemonSet":   "daemonsets.apps",
		"ReplicaSet":  "replicasets.apps",
		"Job":         "jobs.batch",
		"CronJob":     "cronjobs.batch",
	}[kind]
	return fmt.Sprintf(
		`%s "%s" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s %s asks for `+
			`mutual TLS (annotation mtls.egress/target), but the annotation was not propagated to its Pod template, so `+
			`its Pods would call in plain text. Either the webhook 0-mtls-egress-webhook was not called, because it was `+
			`down while its failurePolicy is Ignore or because it does not serve the namespace %s, or something changed `+
			`the %s after the webhook. Apply it again when the webhook runs and serves the namespace; remove the `+
			`annotation if the Pods need no mutual TLS`,
		resource, name, policy, policy, kind, name, namespace, kind,
	)
}
