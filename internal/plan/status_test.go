package plan

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

func noon() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }

func valid(name string, pods int32, layout egress.Layout, notAfter time.Time) CredentialCheck {
	return CredentialCheck{
		SecretName:     name,
		Pods:           pods,
		Layout:         layout,
		Credential:     &credential.Credential{NotBefore: noon().AddDate(-1, 0, 0), NotAfter: notAfter},
		longestWarning: 100 * day,
	}
}

func ending(f CredentialCheck, within time.Duration) CredentialCheck {
	f.endsWithin = within
	return f
}

func programmed() Condition { return True(reasonProgrammed, "done") }

// planned returns a plan for an EgressTarget of generation 3 whose Pods are up to date.
func planned(checks ...CredentialCheck) Plan {
	egressTarget := &v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: host, Generation: 3}}
	return Plan{
		Target:     egress.FromEgressTarget("project", host, nil, egress.Sinkhole{}),
		Programmed: programmed(), outdated: False(reasonPodsUpToDate, "all"),
		facts: Facts{EgressTarget: egressTarget, Credentials: checks, Warnings: DefaultExpiryWarnings(), Now: noon()},
	}
}

func TestConditions(t *testing.T) {
	fine := valid("a", 1, first(), noon().AddDate(1, 0, 0))
	soonOver := ending(valid("b", 1, first(), noon().Add(time.Hour)), day)
	missing := CredentialCheck{SecretName: "c", Pods: 1, Reason: "SecretMissing", Message: "no c"}
	expired := CredentialCheck{SecretName: "d", Pods: 1, Reason: "CertificateExpired", Message: "d is over"}
	other := valid("e", 1, second(), noon().AddDate(1, 0, 0))
	tests := map[string]struct {
		checks     []CredentialCheck
		programmed Condition
		conflicts  []mesh.Conflict
		// want has status and reason of Ready, CredentialValid, Programmed, Conflicted; PodsOutdated is
		// false in all.
		want []string
	}{
		"all well": {
			[]CredentialCheck{fine},
			programmed(),
			nil,
			[]string{"True Ready", "True Valid", "True Programmed", "False NoConflict"},
		},
		"one of two expires soon": {
			[]CredentialCheck{fine, soonOver},
			programmed(),
			nil,
			[]string{"True ExpiresSoon", "True ExpiresSoon", "True Programmed", "False NoConflict"},
		},
		"one of two is missing": {
			[]CredentialCheck{fine, missing},
			programmed(),
			nil,
			[]string{"False SecretMissing", "False SecretMissing", "True Programmed", "False NoConflict"},
		},
		"the first reason is given": {
			[]CredentialCheck{missing, expired},
			programmed(),
			nil,
			[]string{"False SecretMissing", "False SecretMissing", "True Programmed", "False NoConflict"},
		},
		"two layouts": {
			[]CredentialCheck{fine, other},
			programmed(),
			nil,
			[]string{"False LayoutsDiffer", "False LayoutsDiffer", "True Programmed", "False NoConflict"},
		},
		"not programmed": {
			[]CredentialCheck{fine},
			False(v1alpha1.ReasonWriteFailed, ""),
			nil,
			[]string{"False WriteFailed", "True Valid", "False WriteFailed", "False NoConflict"},
		},
		"a conflict": {
			[]CredentialCheck{fine},
			programmed(),
			[]mesh.Conflict{{Message: "one"}, {Message: "two"}},
			[]string{"False Conflict", "True Valid", "True Programmed", "True Conflict"},
		},
		"everything wrong at once": {
			[]CredentialCheck{missing},
			False(ReasonCredentialInvalid, ""),
			[]mesh.Conflict{{Message: "one"}},
			[]string{"False SecretMissing", "False SecretMissing", "False CredentialInvalid", "True Conflict"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := planned(test.checks...)
			p.Programmed, p.Conflicts = test.programmed, test.conflicts
			status := p.Status(Written{})
			var got []string
			for _, condition := range status.Conditions {
				got = append(got, string(condition.Status)+" "+condition.Reason)
				if condition.ObservedGeneration != 3 || !condition.LastTransitionTime.Time.Equal(noon()) {
					t.Errorf(
						"%s is of generation %d and time %s", condition.Type, condition.ObservedGeneration, condition.LastTransitionTime,
					)
				}
			}
			if diff := cmp.Diff(append(test.want, "False PodsUpToDate"), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			p.facts.EgressTarget.Status, p.facts.Now = status, noon().Add(time.Minute)
			if diff := cmp.Diff(status, p.Status(Written{})); diff != "" {
				t.Errorf("the same facts a minute later give another status (-first +second):\n%s", diff)
			}
		})
	}
}

func TestStatusHoldsWhatIsKnownOfEachCredential(t *testing.T) {
	first, last := noon().AddDate(0, 6, 0), noon().AddDate(1, 0, 0)
	a := valid("a", 2, egress.Layout{}, last)
	a.Credential.Subject, a.Credential.Issuer, a.Credential.SerialNumber, a.Credential.SHA256 = "CN=a", "CN=ca", "0a", "ff"
	b := ending(valid("b", 1, egress.Layout{}, first), 7*day)
	b.Reason = "NotForClientAuth"
	c := CredentialCheck{SecretName: "c", Reason: "SecretMissing"}
	since := metav1.Time{Time: noon()}
	p := planned(a, b, c)
	p.facts.Demands, p.facts.UnusedSince = make([]Demand, 3), &since
	status := p.Status(Written{})
	status.Conditions = nil
	want := v1alpha1.EgressTargetStatus{
		ObservedGeneration: 3,
		Credentials: []v1alpha1.CredentialStatus{
			{
				SecretName:   "a",
				Pods:         2,
				NotAfter:     &metav1.Time{Time: last},
				Subject:      "CN=a",
				Issuer:       "CN=ca",
				SerialNumber: "0a",
				SHA256:       "ff",
			},
			{
				SecretName: "b",
				Pods:       1,
				NotAfter:   &metav1.Time{Time: first},
				Reason:     "NotForClientAuth",
				EndsWithin: &metav1.Duration{Duration: 7 * day},
			},
			{SecretName: "c", Reason: "SecretMissing"},
		},
		NotAfter:    &metav1.Time{Time: first},
		Pods:        3,
		PodLabel:    "to.mtls.egress/external.system.com",
		Address:     egress.Sinkhole{}.Address(host).String(),
		UnusedSince: &since,
	}
	if diff := cmp.Diff(want, status); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAStatusTakesNoNamesWithoutEndFromACertificate(t *testing.T) {
	f := valid("a", 1, first(), noon())
	f.Credential.Subject, f.Credential.Issuer, f.Credential.SerialNumber = strings.Repeat("s", 1<<20), strings.Repeat(
		"i", 1<<20,
	), strings.Repeat("0", 1<<20)
	status := credentialStatus(f)
	if len(status.Subject) > 1024 || len(status.Issuer) > 1024 || len(status.SerialNumber) > 1024 {
		t.Errorf("the lengths are %d, %d and %d", len(status.Subject), len(status.Issuer), len(status.SerialNumber))
	}
}

func TestShortened(t *testing.T) {
	long := strings.Repeat("ä", 600)
	got := Shorten(long, MaxEventNote)
	if len(got) > MaxEventNote || !utf8.ValidString(got) || !strings.HasSuffix(got, "ä…") {
		t.Errorf("%d bytes, valid %v, ending in %q", len(got), utf8.ValidString(got), got[len(got)-5:])
	}
	if got := Shorten("short", MaxEventNote); got != "short" {
		t.Errorf("%q", got)
	}
}

func TestTransitions(t *testing.T) {
	conditions := func(states ...string) []metav1.Condition {
		var list []metav1.Condition
		for i, kind := range []string{"Ready", "CredentialValid", "Programmed", "Conflicted", "PodsOutdated"}[:len(states)] {
			status, reason, _ := strings.Cut(states[i], " ")
			list = append(
				list, metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, Message: "m" + reason},
			)
		}
		return list
	}
	well := conditions("True Ready", "True Valid", "True Programmed", "False NoConflict")
	tests := map[string]struct {
		old, updated []metav1.Condition
		want         []Event
	}{
		"nothing changed":          {well, well, nil},
		"the first time, all well": {nil, well, nil},
		"a credential expires soon, which has its own events": {
			well, conditions("True ExpiresSoon", "True ExpiresSoon", "True Programmed", "False NoConflict"), nil,
		},
		"a credential becomes unusable": {
			well,
			conditions("False CertificateExpired", "False CertificateExpired", "True LastGoodKept", "False NoConflict"),
			[]Event{
				{
					Type: "Warning", Reason: "CertificateExpired", Action: "CheckCredential", Note: "mCertificateExpired",
				}, {Type: "Warning", Reason: "LastGoodKept", Action: "Program", Note: "mLastGoodKept"}},
		},
		"a conflict appears": {well, conditions("False Conflict", "True Valid", "True Programmed", "True Conflict"), []Event{
			{Type: "Warning", Reason: "Conflict", Action: "FindConflicts", Note: "mConflict"}}},
		"Pods are outdated": {
			conditions("True Ready", "True Valid", "True Programmed", "False NoConflict", "False PodsUpToDate"),
			conditions("False PodsOutdated", "True Valid", "False PodsOutdated", "False NoConflict", "True ServerCANotMounted"),
			[]Event{
				{
					Type: "Warning", Reason: "PodsOutdated", Action: "Program", Note: "mPodsOutdated",
				}, {Type: "Warning", Reason: "ServerCANotMounted", Action: "ComparePods", Note: "mServerCANotMounted"}},
		},
		"the first time, all well for Pods as well": {
			nil,
			conditions("True Ready", "True Valid", "True Programmed", "False NoConflict", "False PodsUpToDate"),
			nil,
		},
		"the first time, only the last good set": {
			nil,
			conditions("False CertificateExpired", "False CertificateExpired", "True LastGoodKept", "False NoConflict"),
			[]Event{
				{
					Type: "Warning", Reason: "CertificateExpired", Action: "CheckCredential", Note: "mCertificateExpired",
				}, {Type: "Warning", Reason: "LastGoodKept", Action: "Program", Note: "mLastGoodKept"}},
		},
		"a conflict is gone": {conditions("False Conflict", "True Valid", "True Programmed", "True Conflict"), well, []Event{
			{Type: "Normal", Reason: "NoConflict", Action: "FindConflicts", Note: "mNoConflict"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, transitions(test.old, test.updated, ofTarget())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNextLook(t *testing.T) {
	broken := func(since time.Duration, pods int32, reason string) v1alpha1.EgressTargetStatus {
		return v1alpha1.EgressTargetStatus{Pods: pods, Conditions: []metav1.Condition{{
			Type: "CredentialValid", Status: "False", Reason: reason,
			LastTransitionTime: metav1.Time{Time: noon().Add(-since)}}}}
	}
	one := func(left time.Duration) []CredentialCheck {
		return []CredentialCheck{valid("a", 1, first(), noon().Add(left))}
	}
	steady := readValid - Spread(host, readValid/5)
	tests := map[string]struct {
		status v1alpha1.EgressTargetStatus
		checks []CredentialCheck
		age    time.Duration
		want   time.Duration
	}{
		"broken just now": {status: broken(0, 1, "SecretMissing"), want: time.Second},
		"broken for a while": {
			status: broken(20*time.Second, 1, "SecretMissing"), want: 5 * time.Second,
		},
		"broken for an hour":               {status: broken(time.Hour, 1, "SecretMissing"), want: 15 * time.Second},
		"broken without Pods":              {status: broken(time.Hour, 0, "SecretMissing"), want: time.Minute},
		"two layouts aren't polled faster": {status: broken(time.Hour, 1, reasonLayoutsDiffer), want: steady},
		"all well":                         {checks: one(365 * day), want: steady},
		"a certificate about to expire":    {checks: one(10 * time.Second), want: 11 * time.Second},
		"a warning about to begin":         {checks: one(30*day + time.Minute), want: time.Minute},
		"the next warning about to begin":  {checks: one(7*day + time.Minute), want: time.Minute},
		"less time left than connections live, soon": {
			checks: one(6 * time.Minute), age: 5 * time.Minute, want: time.Minute + time.Second,
		},
		"an expired certificate": {checks: one(-time.Hour), want: steady},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := planned(test.checks...)
			p.Target.MaxConnectionAge = test.age
			if got := p.NextLook(test.status); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
	if steady <= 4*time.Minute || steady > 5*time.Minute {
		t.Errorf("the pause is %s, want between 4 and 5 minutes", steady)
	}
}
