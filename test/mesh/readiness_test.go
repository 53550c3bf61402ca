package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/pki"
	"mtls.egress/webhook/test/scene"
)

// readiness records what READY becomes, as kubectl get --watch shows it.
type readiness struct {
	mutex   sync.Mutex
	changes []ready
	// at are the times when each was seen.
	at []time.Time
	// ended is why the watch ended.
	ended error
}

// ready is a value of READY.
type ready struct {
	Status metav1.ConditionStatus
	Reason string
}

// watchReadiness begins with the value that READY has.
func watchReadiness(t *testing.T, s *scene.Scene, namespace string) *readiness {
	t.Helper()
	watch, err := s.EgressTargets(namespace).Watch(t.Context(),
		metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, host).String()})
	must(t, err)
	t.Cleanup(watch.Stop)
	r := &readiness{}
	go func() {
		for event := range watch.ResultChan() {
			r.see(event.Object)
		}
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.ended = errors.New("the watch of the EgressTarget has ended")
	}()
	return r
}

func (r *readiness) see(object any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	content, ok := object.(*unstructured.Unstructured)
	if !ok {
		r.ended = fmt.Errorf("the watch of the EgressTarget returned %+v", object)
		return
	}
	egressTarget, err := scene.ReadEgressTarget(content)
	if err != nil {
		r.ended = err
		return
	}
	condition := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionReady)
	if condition == nil {
		return
	}
	now := ready{condition.Status, condition.Reason}
	if n := len(r.changes); n == 0 || r.changes[n-1] != now {
		r.changes, r.at = append(r.changes, now), append(r.at, time.Now())
	}
}

// becomes waits for a value, and returns when it was seen.
func (r *readiness) becomes(t *testing.T, want ready) (at time.Time) {
	t.Helper()
	must(t, scene.Until(t.Context(), "READY", func(context.Context) error {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		if r.ended != nil {
			return r.ended
		}
		n := len(r.changes) - 1
		if n < 0 || r.changes[n] != want {
			return fmt.Errorf("it was %v, want %v at the end", r.changes, want)
		}
		at = r.at[n]
		return nil
	}))
	return at
}

// known returns all values so far, without those that are Unknown for a moment.
func (r *readiness) known(t *testing.T) []ready {
	t.Helper()
	r.mutex.Lock()
	defer r.mutex.Unlock()
	must(t, r.ended)
	t.Logf("READY was %v", r.changes)
	unknown := func(value ready) bool { return value.Status == metav1.ConditionUnknown }
	return slices.Compact(slices.DeleteFunc(slices.Clone(r.changes), unknown))
}

// settledCalls is how many calls in a row show what calls come to.
const settledCalls = 3

// TestReadyIsFalseWhileCallsFail breaks a target in several ways, one after the other, while its
// Pod calls. READY is False with the reason while calls fail, and isn't True in between.
func TestReadyIsFalseWhileCallsFail(t *testing.T) {
	t.Parallel()
	s := play(t)
	ns := namespace(t, s)
	made := credential(t, s, ns, "ready")
	stranger, err := pki.Authority("Somebody Else's CA")
	must(t, err)
	pair, err := stranger.Sign(pki.Client("ready"))
	must(t, err)
	good, anothersKey := made.Data(scene.LayoutCert), made.Data(scene.LayoutCert)
	anothersKey["key"] = pair.KeyPEM
	refused := scene.Credential{Pair: pair, ServerCA: s.ServerCA.CertPEM}.Data(scene.LayoutCert)
	// Connections live for a second only, so that it is seen what new ones do.
	must(t, s.Apply(t.Context(), fmt.Sprintf(`
apiVersion: mtls.egress/v1alpha1
kind: EgressTarget
metadata: {name: %s, namespace: %s}
spec: {verify: true, connection: {maxAge: 1s}}
`, host, ns)))
	// Beside its sidecar, so that it calls whatever state that is in.
	app := scene.App{
		Namespace: ns, Name: "ready", PodAnnotations: map[string]string{"sidecar.istio.io/nativeSidecar": "false"},
		Args: []string{"--timeout", "5s"},
	}
	const path = "/readiness"
	l := newLoad(t, s, app, path)
	l.runs(t, app)
	becomesReady(t, s, ns)
	l.answered(t)

	row := figures{Promise: "Never plaintext", Fault: "no sidecar, a partner that refuses, and a broken Secret in turn"}
	recreate := func() {
		l.count(t, &row)
		l.recreated(t, app)
	}
	inject := func(label string, wanted bool) {
		labelNamespace(t, s, ns, label)
		must(t, sidecarIn(t.Context(), s, ns, wanted))
		recreate()
	}
	write := func(data map[string][]byte) { must(t, s.WriteSecret(t.Context(), ns, secretName, data)) }
	r := watchReadiness(t, s, ns)
	want := []ready{{metav1.ConditionTrue, "Ready"}}
	for _, step := range []struct {
		what, reason string
		do           func()
		// mounted is what the sidecar then has of the Secret. Nil: there is no sidecar.
		mounted map[string][]byte
	}{
		{"the Pod has no sidecar", "NoSidecar", func() { inject("istio-injection-", false) }, nil},
		{"the Pod has a sidecar again", "Ready", func() { inject("istio-injection=enabled", true) }, good},
		{"the partner refuses the certificate", "IssuerNotAccepted", func() { write(refused) }, refused},
		{"the certificate is the one of before", "Ready", func() { write(good) }, good},
		// A Pod that runs keeps the pair that it has.
		{"the Secret's key is another's", "PrivateKeyMismatch", func() { write(anothersKey); recreate() }, anothersKey},
		{"the pair is complete, and the partner refuses it", "IssuerNotAccepted", func() { write(refused) }, refused},
		{"all is repaired", "Ready", func() { write(good) }, good},
	} {
		next := ready{metav1.ConditionFalse, step.reason}
		if step.reason == "Ready" {
			next.Status = metav1.ConditionTrue
		}
		step.do()
		at := r.becomes(t, next)
		// The controller can't know what the kubelet has yet to write.
		if step.mounted != nil {
			l.mounts(t, step.mounted)
		}
		l.settles(t, step.what, at, next.Status == metav1.ConditionTrue)
		want = append(want, next)
	}
	if diff := cmp.Diff(want, r.known(t)); diff != "" {
		t.Errorf("what READY was (-want +got):\n%s", diff)
	}
	l.count(t, &row)
	neverPlain(t, seen(t, s, partner.Filter{Path: path}), row)
}

// mounts waits until the sidecar finds the files of a Secret.
func (l *load) mounts(t *testing.T, data map[string][]byte) {
	t.Helper()
	must(t, scene.Until(t.Context(), "the files of the Secret", func(ctx context.Context) error {
		found, err := readMounted(ctx, l.s, l.pod)
		if err == nil && found != string(slices.Concat(data["cert"], data["key"], data["cacert"])) {
			err = errors.New("they are others")
		}
		return err
	}))
}

// settles waits until calls that begin after now have succeeded, or failed, several times in a row.
// It logs how long after the first of them READY changed, which was at the time ready.
func (l *load) settles(t *testing.T, when string, ready time.Time, success bool) {
	t.Helper()
	begun := l.state(t).Calls + 1 // with the call that is under way
	must(t, scene.Until(t.Context(), "calls when "+when, func(ctx context.Context) error {
		state, err := l.s.Caller(l.pod).Loop(ctx, l.url)
		if err != nil {
			return err
		}
		first, found := lastChange(state.Transitions)
		if !found || first.To.Success() != success || state.Calls < max(begun, first.Call)+settledCalls {
			return fmt.Errorf("of %d calls after %d, the last change is %+v", state.Calls-begun, begun, first)
		}
		t.Logf("%s: calls come to %s, and READY followed the first of them after %.1f s",
			when, first.To, ready.Sub(first.At).Seconds())
		return nil
	}))
}

// lastChange is the last transition between success and failure, or the first one.
func lastChange(transitions []caller.Transition) (last caller.Transition, found bool) {
	for _, transition := range slices.Backward(transitions) {
		if transition.From == "" || transition.From.Success() != transition.To.Success() {
			return transition, true
		}
	}
	return caller.Transition{}, false
}
