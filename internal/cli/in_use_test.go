package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/workload"
)

const asked = "external.system.com"

func TestWhatNeedsTheWebhook(t *testing.T) {
	asks := map[string]string{"mtls.egress/target": asked}
	named := func(annotations map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "project", Name: "orders", Annotations: annotations}
	}
	template := func(annotations map[string]string) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
	}
	injected := func(phase corev1.PodPhase, annotations map[string]string) *corev1.Pod {
		pod := &corev1.Pod{ObjectMeta: named(annotations), Status: corev1.PodStatus{Phase: phase}}
		pod.Labels = map[string]string{
			"mtls.egress/injected":         "true",
			"to.mtls.egress/b.example.com": "true",
			"to.mtls.egress/a.example.com": "true",
		}
		return pod
	}
	going := func(object client.Object) client.Object {
		object.SetDeletionTimestamp(new(metav1.Now()))
		return object
	}
	replicaSet := func(owner *metav1.OwnerReference, replicas int32) *appsv1.ReplicaSet {
		object := &appsv1.ReplicaSet{
			ObjectMeta: named(nil),
			Spec:       appsv1.ReplicaSetSpec{Replicas: &replicas, Template: template(asks)},
		}
		if owner != nil {
			owner.Controller = new(true)
			object.OwnerReferences = []metav1.OwnerReference{*owner}
		}
		return object
	}
	job := func(conditions ...batchv1.JobCondition) *batchv1.Job {
		return &batchv1.Job{
			ObjectMeta: named(nil),
			Spec:       batchv1.JobSpec{Template: template(asks)},
			Status:     batchv1.JobStatus{Conditions: conditions},
		}
	}
	condition := func(kind batchv1.JobConditionType, status corev1.ConditionStatus) batchv1.JobCondition {
		return batchv1.JobCondition{Type: kind, Status: status}
	}
	deployment := &metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "orders"}
	other := &metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Deployment", Name: "orders"}
	rollout := &metav1.OwnerReference{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Name: "orders"}

	// want is kind and targets, or "" if the object doesn't need the webhook.
	tests := map[string]struct {
		object client.Object
		want   string
	}{
		"a running Pod that was injected": {injected(corev1.PodRunning, asks), "Pod external.system.com"},
		"a Pod that waits for its Secret": {injected(corev1.PodPending, asks), "Pod external.system.com"},
		"a Pod that ends": {
			going(injected(corev1.PodRunning, asks)),
			"Pod external.system.com",
		},
		"a Pod whose annotation was removed": {
			injected(corev1.PodRunning, nil),
			"Pod a.example.com,b.example.com",
		},
		"a Pod that has succeeded":    {injected(corev1.PodSucceeded, asks), ""},
		"a Pod that has failed":       {injected(corev1.PodFailed, asks), ""},
		"a Pod that was not injected": {&corev1.Pod{ObjectMeta: named(asks)}, ""},
		"a Deployment that asks in its own metadata": {
			&appsv1.Deployment{ObjectMeta: named(asks)},
			"Deployment external.system.com",
		},
		"a Deployment that asks in its template": {
			&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: template(asks)}, ObjectMeta: named(nil)},
			"Deployment external.system.com",
		},
		"a Deployment of 0 Pods": {
			&appsv1.Deployment{ObjectMeta: named(asks), Spec: appsv1.DeploymentSpec{Replicas: new(int32(0))}},
			"Deployment external.system.com",
		},
		"a Deployment without targets": {
			&appsv1.Deployment{ObjectMeta: named(map[string]string{"mtls.egress/secret": "partner"})},
			"",
		},
		"a Deployment that is being deleted": {going(&appsv1.Deployment{ObjectMeta: named(asks)}), ""},
		"the template wins over the workload": {
			&appsv1.StatefulSet{
				ObjectMeta: named(asks),
				Spec: appsv1.StatefulSetSpec{
					Template: template(map[string]string{"mtls.egress/target": "b.com"}),
				},
			},
			"StatefulSet b.com",
		},
		"a StatefulSet": {
			&appsv1.StatefulSet{ObjectMeta: named(asks)},
			"StatefulSet external.system.com",
		},
		"a DaemonSet": {
			&appsv1.DaemonSet{ObjectMeta: named(nil), Spec: appsv1.DaemonSetSpec{Template: template(asks)}},
			"DaemonSet external.system.com",
		},
		"a standalone ReplicaSet":            {replicaSet(nil, 0), "ReplicaSet external.system.com"},
		"a ReplicaSet of a Deployment":       {replicaSet(deployment, 2), ""},
		"a ReplicaSet of a Rollout":          {replicaSet(rollout, 2), ""},
		"a ReplicaSet of another controller": {replicaSet(other, 2), "ReplicaSet external.system.com"},
		"the history of another controller":  {replicaSet(other, 0), ""},
		"a Job that runs": {
			job(condition(batchv1.JobComplete, corev1.ConditionFalse)),
			"Job external.system.com",
		},
		"a Job that is suspended": {
			job(condition(batchv1.JobSuspended, corev1.ConditionTrue)),
			"Job external.system.com",
		},
		"a Job that is complete": {job(condition(batchv1.JobComplete, corev1.ConditionTrue)), ""},
		"a Job that has failed":  {job(condition(batchv1.JobFailed, corev1.ConditionTrue)), ""},
		"a CronJob that asks in its own metadata": {
			&batchv1.CronJob{ObjectMeta: named(asks)},
			"CronJob external.system.com",
		},
		"a CronJob that asks in the Jobs' metadata": {
			&batchv1.CronJob{
				ObjectMeta: named(nil),
				Spec: batchv1.CronJobSpec{
					JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: asks}},
				},
			},
			"CronJob external.system.com",
		},
		"a CronJob that asks in the Pods' metadata": {
			&batchv1.CronJob{
				ObjectMeta: named(nil),
				Spec: batchv1.CronJobSpec{
					JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template(asks)}},
				},
			},
			"CronJob external.system.com",
		},
		"something that makes no Pods": {&corev1.ConfigMap{ObjectMeta: named(asks)}, ""},
		"a Deployment of two targets, one with its port": {
			&appsv1.Deployment{ObjectMeta: named(map[string]string{"mtls.egress/target": "B.example.com:8443, a.example.com"})},
			"Deployment b.example.com,a.example.com",
		},
		"a Deployment whose annotation can't be parsed": {
			&appsv1.Deployment{ObjectMeta: named(map[string]string{"mtls.egress/target": "https://a.example.com"})},
			"Deployment  unparsed https://a.example.com",
		},
		"a Pod whose annotation was changed to one that can't be parsed": {
			injected(corev1.PodRunning, map[string]string{"mtls.egress/target": "a b"}),
			"Pod a.example.com,b.example.com unparsed a b",
		},
		"a value that admission would refuse asks too": {
			&appsv1.Deployment{ObjectMeta: named(map[string]string{"mtls.egress/target": ""})},
			"Deployment ",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want, needs := "", test.want != ""
			if needs {
				want = "project/orders " + test.want
			}
			got, found := userOf(t, test.object)
			if found != needs {
				t.Errorf("needs the webhook: %t, want %t", found, needs)
			}
			text := fmt.Sprintf("%s/%s %s %s", got.namespace, got.name, got.kind, strings.Join(got.targets, ","))
			if got.unparsed != "" {
				text += " unparsed " + got.unparsed
			}
			if needs && text != want {
				t.Errorf("got %q, want %q", text, want)
			}
		})
	}
}

// userOf reports whether an object of the cluster needs the webhook.
func userOf(t *testing.T, object client.Object) (user, bool) {
	t.Helper()
	if pod, ok := object.(*corev1.Pod); ok {
		return podUser(pod)
	}
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		t.Fatal(err)
	}
	kind, known := workload.Known().ByKind()[kinds[0].GroupKind()]
	if !known {
		return user{}, false
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	stored := &unstructured.Unstructured{Object: content}
	stored.SetGroupVersionKind(kinds[0])
	found, needs, err := workloadUser(kind, stored)
	if err != nil {
		t.Fatal(err)
	}
	return found, needs
}

func TestTheTableOfUsers(t *testing.T) {
	var many []user
	for i := range 23 {
		many = append(many, asking("project", "Pod", fmt.Sprintf("orders-%02d", i), asked))
	}
	tests := map[string]struct {
		users []user
		want  string
	}{
		"workloads come before Pods, each in order": {
			users: []user{
				asking("b", "Pod", "orders-1", asked),
				asking("b", "Deployment", "orders", asked, "b.com"),
				asking("a", "Pod", "stock-1", asked),
				asking("b", "CronJob", "orders", asked),
				asking("a", "StatefulSet", "stock", asked),
			},
			want: `NAMESPACE   KIND          NAME       TARGETS
a           StatefulSet   stock      external.system.com
b           CronJob       orders     external.system.com
b           Deployment    orders     external.system.com,b.com
a           Pod           stock-1    external.system.com
b           Pod           orders-1   external.system.com
`,
		},
		"an annotation that can't be parsed and has line breaks stays in its row": {
			users: []user{
				{namespace: "a", kind: "Pod", name: "a", unparsed: "x.com,\n\ty.com\x1b[31m"},
				{namespace: "a", kind: "Pod", name: "b", unparsed: strings.Repeat("ö", 100)},
			},
			want: "NAMESPACE   KIND   NAME   TARGETS\na           Pod    a      x.com, " +
				"y.com[31m\na           Pod    b      " + strings.Repeat(
				"ö",
				79,
			) + "…\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, sortedTable(test.users, shownUsers)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("there are twenty rows at most", func(t *testing.T) {
		lines := strings.Split(sortedTable(many, shownUsers), "\n")
		want := []string{"project     Pod    orders-19   external.system.com", "and 3 more; -o wide lists all", ""}
		if diff := cmp.Diff(want, lines[20:]); diff != "" {
			t.Errorf("the last lines (-want +got):\n%s", diff)
		}
		if lines := strings.Split(sortedTable(many[:20], shownUsers), "\n"); len(lines) != 22 ||
			strings.Contains(lines[20], "more") {
			t.Errorf("twenty users give %q", lines)
		}
		if lines := strings.Split(sortedTable(many, len(many)), "\n"); len(lines) != len(many)+2 {
			t.Errorf("-o wide gives %q", lines)
		}
	})
}

// asking returns a user with targets.
func asking(namespace, kind, name string, targets ...string) user {
	return user{namespace: namespace, kind: kind, name: name, targets: targets}
}

// status and uninstall-check describe the same workload with the same type.
func TestTargetsAreAListOfHosts(t *testing.T) {
	encoded, err := encodeResult(userLines([]user{
		asking("a", "Deployment", "orders", asked, "b.com"),
		{namespace: "a", kind: "Deployment", name: "stock", unparsed: "a b"},
	}), outputJSON, nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
    "users": [
        {
            "namespace": "a",
            "kind": "Deployment",
            "name": "orders",
            "targets": [
                "external.system.com",
                "b.com"
            ]
        },
        {
            "namespace": "a",
            "kind": "Deployment",
            "name": "stock",
            "targets": [],
            "unparsed": "a b"
        }
    ]
}
`
	if diff := cmp.Diff(want, string(encoded)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func sortedTable(users []user, shown int) string {
	users = slices.Clone(users)
	sortUsers(users)
	return usersTable(users, shown)
}

func TestTheRefusalCountsWhoNeedsTheWebhook(t *testing.T) {
	const rest = ". Without the webhook and its policies, their next Pods would call in plain text. Remove the " +
		"annotation mtls.egress/target from the workloads and wait until " +
		"their Pods are gone, then uninstall again. helm uninstall --no-hooks skips this check. helm rollback to the " +
		"last revision (helm list --all) keeps the release"
	tests := map[string]struct {
		users []user
		want  string
	}{
		"one of each": {
			[]user{{kind: "Pod"}, {kind: "Job"}},
			"the webhook is in use: 1 workload and 1 Pod request mutual TLS" + rest,
		},
		"only workloads": {
			[]user{{kind: "Job"}, {kind: "CronJob"}},
			"the webhook is in use: 2 workloads and 0 Pods request mutual TLS" + rest,
		},
		"no users": {nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := inUse(test.users); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
