package controller

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/await"
)

// written finds what a write is about: the resource, and the subresource.
var written = regexp.MustCompile(`^/apis/[^/]+/[^/]+/namespaces/[^/]+/([^/]+)(?:/([^/]+))?(/status)?$`)

// TestATargetCostsSixWritesAndNoneWhenNothingHappens: many targets at once must not wear the API
// server out.
func TestATargetCostsSixWritesAndNoneWhenNothingHappens(t *testing.T) {
	const targets, settling, quiet = 100, 5 * time.Second, 10 * time.Second
	w := newWorld(t)
	w.credential(secret)
	running := w.start(controller.Options{})
	for n := range targets {
		w.pod(fmt.Sprintf("app-%d", n), fmt.Sprintf("partner-%d.system.com", n),
			func(pod *corev1.Pod) { pod.Annotations[egress.AnnotationSecret] = secret })
	}
	await.Eventually(w, "", func() error {
		var list v1alpha1.EgressTargetList
		if err := w.List(t.Context(), &list, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		ready := 0
		for _, egressTarget := range list.Items {
			if meta.IsStatusConditionTrue(egressTarget.Status.Conditions, v1alpha1.ConditionReady) {
				ready++
			}
		}
		if ready < targets {
			return fmt.Errorf("%d of %d targets are ready", ready, targets)
		}
		return nil
	})

	counts := map[string]int{}
	for _, line := range w.allWrites(running) {
		method, uri, _ := strings.Cut(line, " ")
		location, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		parts := written.FindStringSubmatch(location.Path)
		if parts == nil {
			t.Errorf("a write of another kind: %s", line)
			continue
		}
		what := method + " " + parts[1] + parts[3]
		if parts[2] == egress.AnchorName {
			what = "the anchor"
		}
		counts[what]++
	}
	anchors, statuses := counts["the anchor"], counts["PATCH egresstargets/status"]
	delete(counts, "the anchor")
	delete(counts, "PATCH egresstargets/status")
	want := map[string]int{
		"POST egresstargets": targets, "PATCH virtualservices": targets, "PATCH destinationrules": targets, "PATCH " +
			"serviceentries": 2 * targets,
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("writes of %d targets, the anchor's and the statuses aside (-want +got):\n%s", targets, diff)
	}
	// The API server refuses a status that was made of an outdated cache: the events of a target's own
	// objects have it reconciled again within milliseconds.
	if statuses < targets || statuses > 3*targets {
		t.Errorf("%d statuses of %d targets were written", statuses, targets)
	}
	// One for the first of them, whose port the others share, and one for each owner that is added, of
	// which there are few.
	if anchors == 0 || anchors > targets/5 {
		t.Errorf("the anchor of %d targets that came at once was written %d times", targets, anchors)
	}
	t.Logf("%d statuses of %d targets, and %d anchors", statuses, targets, anchors)

	before := len(w.allWrites(running))
	await.Eventually(w, "", func() error {
		time.Sleep(settling)
		last := before
		if before = len(w.allWrites(running)); before > last {
			return fmt.Errorf("%d writes in the last %s", before-last, settling)
		}
		return nil
	})
	time.Sleep(quiet)
	if more := w.allWrites(running)[before:]; len(more) > 0 {
		t.Errorf("there were writes in %s in which nothing happened: %q", quiet, more)
	}
}

// allWrites are the requests that changed anything in the namespace, events included.
func (w *world) allWrites(r *running) []string {
	return r.requests.matching(func(line string) bool {
		return !strings.HasPrefix(line, "GET ") && strings.Contains(line, "/"+w.namespace+"/")
	})
}
