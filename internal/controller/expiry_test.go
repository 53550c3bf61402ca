package controller

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
)

func TestExpiryWarnings(t *testing.T) {
	end := noon()
	type result struct {
		Within, Next time.Duration
		Found        bool
	}
	tests := map[string]struct {
		life, left time.Duration
		warnings   []time.Duration
		want       result
	}{
		"a year, 31 days left":          {365 * day, 31 * day, nil, result{0, day, true}},
		"a year, 30 days left":          {365 * day, 30 * day, nil, result{30 * day, 23 * day, true}},
		"a year, a week left":           {365 * day, 7 * day, nil, result{7 * day, 6 * day, true}},
		"a year, a day left":            {365 * day, day, nil, result{day, 0, false}},
		"over":                          {365 * day, -time.Hour, nil, result{day, 0, false}},
		"90 days, renewed at a third":   {90 * day, 30 * day, nil, result{0, 12 * day, true}},
		"90 days, a fifth left":         {90 * day, 18 * day, nil, result{30 * day, 11 * day, true}},
		"a day, renewed at a third":     {day, 8 * time.Hour, nil, result{0, 8*time.Hour - day/5, true}},
		"a day, a fifth left":           {day, day / 5, nil, result{day, 0, false}},
		"other periods, in any order":   {365 * day, 2 * time.Hour, []time.Duration{time.Hour, 3 * time.Hour}, result{3 * time.Hour, time.Hour, true}},
		"no periods, on somebody's ask": {365 * day, time.Hour, []time.Duration{}, result{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := &credential.Credential{NotBefore: end.Add(-test.life), NotAfter: end}
			warnings := sortedWarnings(test.warnings)
			now := end.Add(-test.left)
			var got result
			got.Within = warnings.within(c, now)
			got.Next, got.Found = warnings.next(c, now)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEachWarningOfACertificateIsOneEvent(t *testing.T) {
	status := func(sha256 string, within time.Duration) []v1alpha1.CredentialStatus {
		return []v1alpha1.CredentialStatus{{SecretName: "s", Pods: 3, Subject: "CN=orders", SHA256: sha256, NotAfter: &metav1.Time{Time: noon()}, EndsWithin: endsWithin(within)}}
	}
	bad := status("a", day)
	bad[0].Reason = "PrivateKeyMismatch"
	event := func(period string) []notice {
		return []notice{{"Warning", "ExpiresSoon", "CheckCredential",
			`the client certificate "CN=orders" in the Secret s ends on 2026-05-01T12:00:00Z, within ` + period + `; Pods that present it: 3; put the next one into the Secret, nothing has to be restarted`}}
	}
	tests := map[string]struct {
		old, updated []v1alpha1.CredentialStatus
		want         []notice
	}{
		"far from its end":                  {nil, status("a", 0), nil},
		"seen for the first time":           {nil, status("a", 7*day), event("7 days")},
		"the first warning":                 {status("a", 0), status("a", 30*day), event("30 days")},
		"the same again":                    {status("a", 30*day), status("a", 30*day), nil},
		"the next warning":                  {status("a", 7*day), status("a", day), event("a day")},
		"a period that is no day":           {status("a", day), status("a", 90*time.Minute), event("1h30m0s")},
		"the next certificate ends soon":    {status("a", day), status("b", day), event("a day")},
		"another one far from its end":      {status("a", day), status("b", 0), nil},
		"longer periods since a restart":    {status("a", day), status("a", 30*day), nil},
		"refused, which has its own events": {status("a", 0), bad, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, expiryNotices(test.old, test.updated), cmp.AllowUnexported(notice{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
