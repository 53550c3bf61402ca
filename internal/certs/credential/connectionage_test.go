package credential_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

func TestConnectionAge(t *testing.T) {
	const day = 24 * time.Hour
	c := func(life, left time.Duration) *credential.Credential {
		return &credential.Credential{NotBefore: now().Add(left - life), NotAfter: now().Add(left)}
	}
	all := func(credentials ...*credential.Credential) []*credential.Credential { return credentials }
	tests := map[string]struct {
		chosen      time.Duration
		renewBefore time.Duration
		credentials []*credential.Credential
		want        time.Duration
	}{
		"nothing known": {want: 5 * time.Minute},
		"a year":        {credentials: all(c(365*day, 100*day)), want: 5 * time.Minute},
		"an hour: five minutes of six": {
			credentials: all(c(time.Hour, time.Hour)),
			want:        5 * time.Minute,
		},
		"ten minutes: a tenth": {
			credentials: all(c(10*time.Minute, 10*time.Minute)),
			want:        time.Minute,
		},
		"the shortest life of several": {
			credentials: all(c(365*day, 100*day), c(10*time.Minute, 10*time.Minute)),
			want:        time.Minute,
		},
		"five seconds: at least a second": {
			credentials: all(c(5*time.Second, 5*time.Second)),
			want:        time.Second,
		},
		"ten minutes, but the EgressTarget asks for 2": {
			chosen:      2 * time.Minute,
			credentials: all(c(10*time.Minute, 10*time.Minute)),
			want:        2 * time.Minute,
		},
		"half of the time before the end at which cert-manager renews": {
			renewBefore: 5 * time.Minute,
			credentials: all(c(time.Hour, time.Hour)),
			want:        150 * time.Second,
		},
		"cert-manager renews days before": {
			renewBefore: 240 * time.Hour,
			credentials: all(c(720*time.Hour, 720*time.Hour)),
			want:        5 * time.Minute,
		},
		"never more than is left, halved": {
			credentials: all(c(365*day, 4*time.Minute)),
			want:        150 * time.Second,
		},
		"halved again": {
			credentials: all(c(365*day, 2*time.Minute)),
			want:        75 * time.Second,
		},
		"just as much as is left": {
			credentials: all(c(365*day, 5*time.Minute)),
			want:        5 * time.Minute,
		},
		"the same for one that was asked for": {
			chosen:      time.Hour,
			credentials: all(c(365*day, 50*time.Minute)),
			want:        30 * time.Minute,
		},
		"the last moment": {
			credentials: all(c(365*day, 0)),
			want:        time.Second,
		},
		"one that has ended doesn't count": {
			credentials: all(c(365*day, -time.Second)),
			want:        5 * time.Minute,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wanted := egress.FromEgressTarget("project", "external.system.com", nil, egress.Sinkhole{})
			if test.chosen != 0 {
				wanted.MaxConnectionAge, wanted.ConnectionAgeChosen = test.chosen, true
			}
			if test.renewBefore != 0 {
				wanted.Certificate = &v1alpha1.IssuedCertificate{
					RenewBefore: &metav1.Duration{Duration: test.renewBefore},
				}
			}
			if got := credential.ConnectionAge(wanted, test.credentials, now()); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
