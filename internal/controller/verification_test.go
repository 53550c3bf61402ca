package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/verify"
)

func TestWhichTargetsAreVerified(t *testing.T) {
	yes, no := new(true), new(false)
	tests := map[string]struct {
		targets VerifyTargets
		asked   *bool
		want    bool
		off     bool
	}{
		"off, and unset":    {targets: VerifyOff},
		"off, and true":     {targets: VerifyOff, asked: yes, off: true},
		"off, and false":    {targets: VerifyOff, asked: no},
		"marked, and unset": {targets: VerifyMarked},
		"marked, and true":  {targets: VerifyMarked, asked: yes, want: true},
		"all":               {targets: VerifyAll, want: true},
		"all, and false":    {targets: VerifyAll, asked: no},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := &VerificationReconciler{targets: test.targets}
			wanted, otherwise := r.wanted(&v1alpha1.EgressTarget{Spec: v1alpha1.EgressTargetSpec{Verify: test.asked}})
			if wanted != test.want || (otherwise != nil) != test.off {
				t.Errorf("wanted %v, otherwise %+v", wanted, otherwise)
			}
			if otherwise != nil && (otherwise.Status != metav1.ConditionUnknown || otherwise.Reason != reasonVerificationOff) {
				t.Errorf("otherwise %+v", otherwise)
			}
		})
	}
}

func TestVerified(t *testing.T) {
	good := trial{outcome: verify.Outcome{Verified: true, Reason: verify.Verified, Message: "fine"}}
	unproven := trial{outcome: verify.Outcome{Reason: verify.IssuerNotNamed, Message: "who knows"}}
	refused := trial{outcome: verify.Outcome{Reason: verify.ClientCertificateRefused, Message: "no"}}
	away := trial{outcome: verify.Outcome{Reason: verify.Unreachable, Message: "away"}}
	tests := map[string]struct {
		trials map[string]trial
		want   plan.Condition
	}{
		"nothing to verify": {
			nil,
			plan.Unknown("CredentialInvalid", "no credential can be verified; see the condition CredentialValid"),
		},
		"accepted": {map[string]trial{"a": good}, plan.True("Verified", "the Secret a: fine")},
		"two accepted": {
			map[string]trial{"b": good, "a": good}, plan.True("Verified", "the Secret a: fine; the Secret b: fine"),
		},
		"one of two proves nothing": {
			map[string]trial{"a": good, "b": unproven}, plan.Unknown("IssuerNotNamed", "the Secret b: who knows"),
		},
		"one of three refused": {
			map[string]trial{"a": good, "b": unproven, "c": refused},
			plan.False("ClientCertificateRefused", "the Secret c: no"),
		},
		"the first reason by name": {
			map[string]trial{"b": refused, "a": away}, plan.False("Unreachable", "the Secret a: away; the Secret b: no"),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(&test.want, verified(test.trials)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestATrialIsDue(t *testing.T) {
	now := noon()
	tests := map[string]struct {
		last trial
		want bool
	}{
		"tried a moment ago":             {trial{fingerprint: "x", at: now.Add(-time.Minute)}, false},
		"tried an hour ago":              {trial{fingerprint: "x", at: now.Add(-time.Hour)}, true},
		"tried with another certificate": {trial{fingerprint: "y", at: now}, true},
		"never tried":                    {trial{}, true},
		"failed for the first time, 29 seconds": {
			trial{fingerprint: "x", at: now.Add(-29 * time.Second), failing: now.Add(-29 * time.Second)}, false,
		},
		"failed for the first time, 30 seconds": {
			trial{fingerprint: "x", at: now.Add(-30 * time.Second), failing: now.Add(-30 * time.Second)}, true,
		},
		"failing for an hour, tried 14 minutes ago": {
			trial{fingerprint: "x", at: now.Add(-14 * time.Minute), failing: now.Add(-74 * time.Minute)}, false,
		},
		"failing for an hour, tried 15 minutes ago": {
			trial{fingerprint: "x", at: now.Add(-15 * time.Minute), failing: now.Add(-75 * time.Minute)}, true,
		},
		"failing for days, tried 15 minutes ago": {
			trial{fingerprint: "x", at: now.Add(-15 * time.Minute), failing: now.Add(-75 * time.Hour)}, true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.last.due("x", time.Hour, now); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestWhatIsToldOfTrials(t *testing.T) {
	made := func(fingerprint string, verified bool, reason verify.Reason) trial {
		return trial{
			fingerprint: fingerprint,
			certificate: strings.TrimSuffix(fingerprint, "'"),
			outcome:     verify.Outcome{Verified: verified, Reason: reason, Message: "so it is"},
		}
	}
	const changed = "the Secret s changed, and its Pods get the change within about a minute: so it is"
	tests := map[string]struct {
		known      string
		last, next trial
		want       string
	}{
		"the first, accepted": {
			next: made("x", true, "Verified"), want: "Normal Verified the Secret s: so it is",
		},
		"the first, refused": {
			next: made("x", false, "Unreachable"), want: "Warning Unreachable the Secret s: so it is",
		},
		"the first after a start, unchanged": {known: "Verified", next: made("x", true, "Verified")},
		"the first after a start, changed": {
			known: "Verified", next: made("x", false, "Unreachable"), want: "Warning Unreachable the Secret s: so it is",
		},
		"again": {
			known: "Verified", last: made("x", true, "Verified"), next: made("x", true, "Verified"),
		},
		"again, refused": {
			known: "Verified",
			last:  made("x", true, "Verified"),
			next:  made("x", false, "Unreachable"),
			want:  "Warning Unreachable the Secret s: so it is",
		},
		"refused again": {
			known: "Unreachable", last: made("x", false, "Unreachable"), next: made("x", false, "Unreachable"),
		},
		"changed and accepted": {
			known: "Verified",
			last:  made("x", true, "Verified"),
			next:  made("y", true, "Verified"),
			want:  "Normal Verified " + changed,
		},
		"another port, and refused": {
			known: "Verified",
			last:  made("x", true, "Verified"),
			next:  made("x'", false, "Unreachable"),
			want:  "Warning Unreachable the Secret s: so it is",
		},
		"another port, and accepted": {
			known: "Verified", last: made("x", true, "Verified"), next: made("x'", true, "Verified"),
		},
		"changed and refused as before": {
			known: "IssuerNotAccepted",
			last:  made("x", false, "IssuerNotAccepted"),
			next:  made("y", false, "IssuerNotAccepted"),
			want:  "Warning IssuerNotAccepted " + changed,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			recorder := events.NewFakeRecorder(1)
			egressTarget := &v1alpha1.EgressTarget{}
			if test.known != "" {
				egressTarget.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionVerified, Reason: test.known}}
			}
			(&VerificationReconciler{events: recorder}).recordTrial(egressTarget, "s", test.last, test.next)
			got := ""
			select {
			case got = <-recorder.Events:
			default:
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
