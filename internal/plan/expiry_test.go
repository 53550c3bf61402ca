package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

func TestExpiryWarnings(t *testing.T) {
	end := noon()
	type result struct {
		Within, Next time.Duration
		Found        bool
	}
	issuedBy := func(renewBefore time.Duration) egress.Target {
		t := egress.FromEgressTarget("project", host, nil, egress.Sinkhole{})
		t.Certificate = &v1alpha1.IssuedCertificate{RenewBefore: &metav1.Duration{Duration: renewBefore}}
		return t
	}
	plain := egress.FromEgressTarget("project", host, nil, egress.Sinkhole{})
	tests := map[string]struct {
		target        egress.Target
		byCertManager bool
		life, left    time.Duration
		warnings      []time.Duration
		want          result
	}{
		"a year, 31 days left": {target: plain, life: 365 * day, left: 31 * day, want: result{0, day, true}},
		"a year, 30 days left": {
			target: plain, life: 365 * day, left: 30 * day, want: result{30 * day, 23 * day, true},
		},
		"a year, a week left": {
			target: plain, life: 365 * day, left: 7 * day, want: result{7 * day, 6 * day, true},
		},
		"a year, a day left": {target: plain, life: 365 * day, left: day, want: result{day, 0, false}},
		"expired":            {target: plain, life: 365 * day, left: -time.Hour, want: result{day, 0, false}},
		"90 days, 30 left": {
			target: plain, life: 90 * day, left: 30 * day, want: result{30 * day, 23 * day, true},
		},
		"a day, a third and a bit left": {target: plain, life: day, left: 9 * time.Hour, want: result{0, time.Hour, true}},
		"a day, a third left":           {target: plain, life: day, left: 8 * time.Hour, want: result{day, 0, false}},
		"other periods, in any order": {
			target:   plain,
			life:     365 * day,
			left:     2 * time.Hour,
			warnings: []time.Duration{time.Hour, 3 * time.Hour},
			want:     result{3 * time.Hour, time.Hour, true},
		},
		"no periods, configured so": {target: plain, life: 365 * day, left: time.Hour, warnings: []time.Duration{}},

		"90 days by cert-manager, renewed at a third": {
			target: plain, byCertManager: true, life: 90 * day, left: 30 * day, want: result{0, 12 * day, true},
		},
		"90 days by cert-manager, a fifth left": {
			target: plain, byCertManager: true, life: 90 * day, left: 18 * day, want: result{30 * day, 11 * day, true},
		},
		"a day by cert-manager, renewed at a third": {
			target:        plain,
			byCertManager: true,
			life:          day,
			left:          8 * time.Hour,
			want:          result{0, 8*time.Hour - day/5, true},
		},
		"renewed ten days before, as configured, 9 left": {
			target: issuedBy(10 * day), byCertManager: true, life: 90 * day, left: 9 * day, want: result{0, day, true},
		},
		"renewed ten days before, as configured, 8 left": {
			target:        issuedBy(10 * day),
			byCertManager: true,
			life:          90 * day,
			left:          8 * day,
			want:          result{30 * day, day, true},
		},
		"renewed almost at once, as configured, a third left": {
			target:        issuedBy(89 * day),
			byCertManager: true,
			life:          90 * day,
			left:          30 * day,
			want:          result{30 * day, 23 * day, true},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := &credential.Credential{NotBefore: end.Add(-test.life), NotAfter: end}
			f := CredentialCheck{
				Credential: c, longestWarning: longestWarning(test.target, test.target.SecretName, test.byCertManager, c),
			}
			warnings := NewExpiryWarnings(test.warnings)
			now := end.Add(-test.left)
			var got result
			got.Within = warnings.within(f.expiry(), now)
			got.Next, got.Found = warnings.next(f.expiry(), now)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEachWarningOfACertificateIsOneEvent(t *testing.T) {
	status := func(sha256 string, within time.Duration) []v1alpha1.CredentialStatus {
		return []v1alpha1.CredentialStatus{
			{
				SecretName: "s",
				Pods:       3,
				Subject:    "CN=orders",
				SHA256:     sha256,
				NotAfter:   &metav1.Time{Time: noon()},
				EndsWithin: endsWithin(within),
			},
		}
	}
	bad := status("a", day)
	bad[0].Reason = "PrivateKeyMismatch"
	event := func(period string) []Event {
		return []Event{{Type: "Warning", Reason: "ExpiresSoon", Action: "CheckCredential", SecretName: "s",
			Note: `the client certificate "CN=orders" in the Secret s expires on 2026-05-01T12:00:00Z, within ` + period +
				`; Pods that present it: 3; put the new certificate into the Secret; no restart is needed`}}
	}
	tests := map[string]struct {
		old, updated []v1alpha1.CredentialStatus
		want         []Event
	}{
		"far from its end":                  {nil, status("a", 0), nil},
		"seen for the first time":           {nil, status("a", 7*day), event("7 days")},
		"the first warning":                 {status("a", 0), status("a", 30*day), event("30 days")},
		"the same again":                    {status("a", 30*day), status("a", 30*day), nil},
		"the next warning":                  {status("a", 7*day), status("a", day), event("a day")},
		"a period of part of a day":         {status("a", day), status("a", 90*time.Minute), event("1h30m0s")},
		"the next certificate ends soon":    {status("a", day), status("b", day), event("a day")},
		"another one far from its end":      {status("a", day), status("b", 0), nil},
		"longer periods since a restart":    {status("a", day), status("a", 30*day), nil},
		"refused, which has its own events": {status("a", 0), bad, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := expiryEvents(egress.FromEgressTarget("project", host, nil, egress.Sinkhole{}), test.old, test.updated)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEachWarningOfACAIsOneEvent(t *testing.T) {
	status := func(subject string, within time.Duration) []v1alpha1.CredentialStatus {
		return []v1alpha1.CredentialStatus{{
			SecretName: "s", Pods: 3, Subject: "CN=orders",
			ServerCA: &v1alpha1.ServerCAStatus{
				Subject: subject, NotAfter: &metav1.Time{Time: noon()}, EndsWithin: endsWithin(within),
			},
		}}
	}
	bad := status("CN=A", day)
	bad[0].Reason = "ServerCAExpired"
	inSecret := egress.FromEgressTarget("project", host, nil, egress.Sinkhole{})
	inConfigMap := egress.FromEgressTarget("project", host, nil, egress.Sinkhole{})
	inConfigMap.ServerCA.ConfigMap = v1alpha1.ConfigMapKey{Name: "partner-ca", Key: "ca.pem"}
	event := func(subject, source, period string) []Event {
		return []Event{{Type: "Warning", Reason: "ServerCAExpiresSoon", Action: "CheckCredential", SecretName: "s",
			Note: "the CA of the server \"" + subject + "\" in the " + source + " expires on 2026-05-01T12:00:00Z, within " +
				period + "; Pods that trust it: 3; ask the partner for the current one, and add it there; no restart is needed"}}
	}
	tests := map[string]struct {
		target       egress.Target
		old, updated []v1alpha1.CredentialStatus
		want         []Event
	}{
		"of the system":           {inSecret, nil, []v1alpha1.CredentialStatus{{SecretName: "s"}}, nil},
		"far from its end":        {inSecret, nil, status("CN=A", 0), nil},
		"seen for the first time": {inSecret, nil, status("CN=A", 7*day), event("CN=A", "Secret s", "7 days")},
		"in a ConfigMap":          {inConfigMap, nil, status("CN=A", 7*day), event("CN=A", "ConfigMap partner-ca", "7 days")},
		"the first warning": {
			inSecret, status("CN=A", 0), status("CN=A", 30*day), event("CN=A", "Secret s", "30 days"),
		},
		"the same again":          {inSecret, status("CN=A", 30*day), status("CN=A", 30*day), nil},
		"the next warning":        {inSecret, status("CN=A", 7*day), status("CN=A", day), event("CN=A", "Secret s", "a day")},
		"another CA ends soon":    {inSecret, status("CN=A", day), status("CN=B", day), event("CN=B", "Secret s", "a day")},
		"longer since a restart":  {inSecret, status("CN=A", day), status("CN=A", 30*day), nil},
		"refused, with own event": {inSecret, status("CN=A", 0), bad, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, serverCAEvents(test.target, test.old, test.updated)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
