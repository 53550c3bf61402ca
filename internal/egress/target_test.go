package egress_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// defaults returns the target of host with all defaults, modified by change.
func defaults(host, secret string, change func(*egress.Target)) egress.Target {
	t := egress.Target{
		Namespace:        "project",
		Host:             host,
		Port:             443,
		AppPort:          80,
		SecretName:       secret,
		SNI:              host,
		SubjectAltNames:  []string{host},
		Retries:          2,
		HTTPVersion:      "auto",
		MaxConnectionAge: 5 * time.Minute,
	}
	if change != nil {
		change(&t)
	}
	return t
}

func TestResolve(t *testing.T) {
	one, other := collidingHosts(t)
	yes, three := true, int32(3)
	tests := map[string]struct {
		annotations   map[string]string
		egressTargets map[string]v1alpha1.EgressTargetSpec
		want          []egress.Target
	}{
		"nothing becomes nothing": {nil, nil, nil},
		"a host alone gets the defaults": {targets("external.system.com"), nil, []egress.Target{
			defaults("external.system.com", "external-system-mtls-data", nil)}},
		"an empty EgressTarget changes nothing": {
			targets("external.system.com"),
			map[string]v1alpha1.EgressTargetSpec{"external.system.com": {}},
			[]egress.Target{
				defaults("external.system.com", "external-system-mtls-data", nil)},
		},
		"another host's EgressTarget changes nothing": {
			targets("external.system.com"),
			map[string]v1alpha1.EgressTargetSpec{"partner.example": {Port: 8443}},
			[]egress.Target{
				defaults("external.system.com", "external-system-mtls-data", nil)},
		},
		"the annotation's port and Secret are taken": {both("partner.example:8443", "mine"), nil, []egress.Target{
			defaults("partner.example", "mine", func(t *egress.Target) { t.Port = 8443 })}},
		"the annotation's Secret wins over the EgressTarget's": {
			both("partner.example", "mine"),
			map[string]v1alpha1.EgressTargetSpec{
				"partner.example": {Credential: v1alpha1.Credential{SecretName: "theirs"}},
			},
			[]egress.Target{defaults("partner.example", "mine", nil)},
		},
		"a port that the EgressTarget says too is fine": {
			targets("partner.example:8443"),
			map[string]v1alpha1.EgressTargetSpec{"partner.example": {Port: 8443}},
			[]egress.Target{
				defaults("partner.example", "partner-mtls-data", func(t *egress.Target) { t.Port = 8443 }),
			},
		},
		"hosts that default to one Secret are fine once the EgressTarget names another": {
			targets("external.system.com,external.system.org"),
			map[string]v1alpha1.EgressTargetSpec{
				"external.system.org": {Credential: v1alpha1.Credential{SecretName: "org"}},
			},
			[]egress.Target{
				defaults("external.system.com", "external-system-mtls-data", nil),
				defaults("external.system.org", "org", nil),
			},
		},
		"a default Secret that another host of the namespace named for itself": {
			targets("external.system.org"),
			map[string]v1alpha1.EgressTargetSpec{
				"external.system.com": {Credential: v1alpha1.Credential{SecretName: "external-system-mtls-data"}},
			},
			[]egress.Target{defaults("external.system.org", "external-system-mtls-data", nil)},
		},
		"an explicit Secret if another host of the namespace has the default": {
			both("external.system.org", "org"),
			map[string]v1alpha1.EgressTargetSpec{
				"external.system.com": {},
			},
			[]egress.Target{defaults("external.system.org", "org", nil)},
		},
		"the default Secret of the older of two EgressTargets": {targets("external.system.com"),
			map[string]v1alpha1.EgressTargetSpec{"external.system.com": {}, "external.system.org": {}},
			[]egress.Target{defaults("external.system.com", "external-system-mtls-data", nil)}},
		"a default Secret that no Pod of the other host presents": {targets("external.system.org"),
			map[string]v1alpha1.EgressTargetSpec{"presents other/external.system.com": {}},
			[]egress.Target{defaults("external.system.org", "external-system-mtls-data", nil)}},
		"a default Secret whose host has no Pods left": {targets("external.system.org"),
			map[string]v1alpha1.EgressTargetSpec{"controller/unused/external.system.com": {}},
			[]egress.Target{defaults("external.system.org", "external-system-mtls-data", nil)}},
		"two hosts with one sinkhole address, which calls are told apart by Host header and server name": {
			both(one+","+other, "shared"),
			map[string]v1alpha1.EgressTargetSpec{},
			[]egress.Target{defaults(one, "shared", nil), defaults(other, "shared", nil)},
		},
		"a host with the sinkhole address of another of the namespace": {
			targets(one),
			map[string]v1alpha1.EgressTargetSpec{
				other: {},
			},
			[]egress.Target{defaults(one, egress.DefaultSecretName(one), nil)},
		},
		"everything that an EgressTarget says is taken": {
			targets("partner.example"),
			map[string]v1alpha1.EgressTargetSpec{"partner.example": {
				Port:    8443,
				AppPort: 8080,
				Credential: v1alpha1.Credential{
					SecretName: "theirs",
					Keys:       &v1alpha1.CredentialKeys{Certificate: "c.pem", PrivateKey: "k.pem"},
				},
				ServerCA:        &v1alpha1.ServerCA{ConfigMap: &v1alpha1.ConfigMapKey{Name: "bundle", Key: "ca.pem"}},
				SNI:             "sni.example",
				SubjectAltNames: []string{"one.example", "two.example"},
				HTTP: &v1alpha1.HTTP{
					Retries: &three,
					Timeout: &metav1.Duration{Duration: time.Minute},
					Version: "2",
					Host:    "host.example:8443",
				},
				Connection: &v1alpha1.Connection{MaxAge: &metav1.Duration{Duration: time.Hour}},
				Endpoints:  []v1alpha1.Endpoint{{Address: "relay.example", Port: 9443, Priority: 1}, {Address: "10.1.2.3"}},
			}},
			[]egress.Target{
				{
					Namespace:  "project",
					Host:       "partner.example",
					Port:       8443,
					AppPort:    8080,
					SecretName: "theirs",
					Keys:       &v1alpha1.CredentialKeys{Certificate: "c.pem", PrivateKey: "k.pem"},
					ServerCA: egress.ServerCA{
						ConfigMap: v1alpha1.ConfigMapKey{Name: "bundle", Key: "ca.pem"},
					},
					SNI:             "sni.example",
					SubjectAltNames: []string{"one.example", "two.example"},
					Retries:         3,
					Timeout:         time.Minute,
					HTTPVersion:     "2",
					Endpoints: []egress.Endpoint{
						{Address: "relay.example", Port: 9443, Priority: 1}, {Address: "10.1.2.3", Port: 8443},
					},
					HTTPHost:            "host.example:8443",
					MaxConnectionAge:    time.Hour,
					ConnectionAgeChosen: true,
				},
			},
		},
		"no retries is not the same as the default": {
			targets("partner.example"),
			map[string]v1alpha1.EgressTargetSpec{"partner.example": {HTTP: &v1alpha1.HTTP{Retries: new(int32)}}},
			[]egress.Target{
				defaults("partner.example", "partner-mtls-data", func(t *egress.Target) { t.Retries = 0 }),
			},
		},
		"the CAs of the sidecar image": {
			targets("partner.example"),
			map[string]v1alpha1.EgressTargetSpec{"partner.example": {ServerCA: &v1alpha1.ServerCA{System: &yes}}},
			[]egress.Target{
				defaults("partner.example", "partner-mtls-data", func(t *egress.Target) { t.ServerCA.System = true }),
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, errs := egress.Resolve("project", parse(t, test.annotations), egressTargets(test.egressTargets),
				egress.Sinkhole{}, field.NewPath("metadata", "annotations"))
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolveRefuses(t *testing.T) {
	const shared = "external.system.org defaults to the Secret external-system-mtls-data, which is already the " +
		"default Secret of external.system.com in this namespace; name a Secret for this host, " +
		"for example mtls.egress/secret: external.system.org=external-system-2-mtls-data, or mtls.egress/secret: " +
		"external.system.org=external-system-mtls-data if the credential is meant for both"
	tooLong := strings.Repeat(strings.Repeat("a", 61)+".", 4) + "bc"
	tests := map[string]struct {
		annotations   map[string]string
		egressTargets map[string]v1alpha1.EgressTargetSpec
		want          []string
	}{
		"two hosts that default to one Secret": {
			targets("external.system.com,external.system.org"),
			nil,
			[]string{
				"metadata.annotations[mtls.egress/secret]: Required value: external.system.com and " +
					"external.system.org both default to the Secret external-system-mtls-data; name a Secret for " +
					"each host, for example " +
					"mtls.egress/secret: " +
					"external.system.com=external-system-mtls-data,external.system.org=external-system-2-mtls-data, or " +
					"mtls.egress/secret: external-system-mtls-data if it is meant for both",
			},
		},
		"a default Secret that another host of the namespace has by default": {
			targets("external.system.org"),
			map[string]v1alpha1.EgressTargetSpec{"external.system.com": {}},
			[]string{
				"metadata.annotations[mtls.egress/secret]: Required value: " + shared},
		},
		"a default Secret that another host of the namespace presents": {
			targets("external.system.org"),
			map[string]v1alpha1.EgressTargetSpec{"presents external-system-mtls-data/external.system.com": {}},
			[]string{
				"metadata.annotations[mtls.egress/secret]: Required value: " + shared},
		},
		"a default Secret that the namespace declared for another host, without a Pod yet": {
			targets("external.system.org"),
			map[string]v1alpha1.EgressTargetSpec{"unused/external.system.com": {}},
			[]string{
				"metadata.annotations[mtls.egress/secret]: Required value: " + shared},
		},
		"the default Secret of the younger of two EgressTargets": {
			targets("external.system.org"),
			map[string]v1alpha1.EgressTargetSpec{"external.system.com": {}, "external.system.org": {}},
			[]string{
				"metadata.annotations[mtls.egress/secret]: Required value: " + shared},
		},
		"a default Secret name that is too long to exist": {
			targets(tooLong),
			nil,
			[]string{
				`metadata.annotations[mtls.egress/secret]: Required value: the default Secret name of "` +
					tooLong[:60] + `"… (250 bytes) is longer than 253 characters; write mtls.egress/secret: <secret>`,
			},
		},
		"another port than the EgressTarget's": {
			targets("partner.example:8443"),
			map[string]v1alpha1.EgressTargetSpec{"partner.example": {Port: 9443}},
			[]string{
				`metadata.annotations[mtls.egress/target]: Invalid value: "partner.example:8443": the EgressTarget ` +
					`partner.example sets port 9443; write partner.example:9443 or partner.example alone, or change ` +
					`spec.port of the EgressTarget, which affects every workload in the namespace that calls the host`,
			},
		},
		"no port where the controller made the EgressTarget for another workload's": {
			targets("partner.example"),
			map[string]v1alpha1.EgressTargetSpec{"controller/partner.example": {Port: 8443}},
			[]string{
				`metadata.annotations[mtls.egress/target]: Invalid value: "partner.example": means port 443, but ` +
					`other workloads of the namespace call partner.example:8443, and a target has one port; write ` +
					`partner.example:8443, or create an EgressTarget that sets the port`,
			},
		},
		"the app's port as the partner's": {
			targets("partner.example:80"),
			nil,
			[]string{
				`metadata.annotations[mtls.egress/target]: Invalid value: "partner.example:80": 80 is the plain HTTP ` +
					`port that the app calls; the port here is the partner's TLS port, usually 443`,
			},
		},
		"all mistakes are reported at once": {
			targets("partner.example:80,external.system.com,external.system.org"),
			nil,
			[]string{
				`metadata.annotations[mtls.egress/target]: Invalid value: "partner.example:80": 80 is the plain HTTP ` +
					`port that the app calls; the port here is the partner's TLS port, usually 443`,
				"metadata.annotations[mtls.egress/secret]: Required value: external.system.com and " +
					"external.system.org both default to the Secret external-system-mtls-data; name a Secret for " +
					"each host, for example " +
					"mtls.egress/secret: " +
					"external.system.com=external-system-mtls-data,external.system.org=external-system-2-mtls-data, or " +
					"mtls.egress/secret: external-system-mtls-data if it is meant for both",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, errs := egress.Resolve("project", parse(t, test.annotations), egressTargets(test.egressTargets),
				egress.Sinkhole{}, field.NewPath("metadata", "annotations"))
			if diff := cmp.Diff(test.want, messages(errs)); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if got != nil {
				t.Errorf("got errors and targets: %v", got)
			}
		})
	}
}

func parse(t *testing.T, annotations map[string]string) egress.Intent {
	t.Helper()
	intent, _, errs := egress.ParseIntent(annotations, nil)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return intent
}

// egressTargets returns EgressTargets by host; the age follows the order of the names. A key can
// start with controller/ (created by the controller), unused/ (no Pod calls it) or presents SECRET/
// (a Pod presents that Secret).
func egressTargets(specs map[string]v1alpha1.EgressTargetSpec) map[string]*v1alpha1.EgressTarget {
	made := map[string]*v1alpha1.EgressTarget{}
	for name, spec := range specs {
		words := strings.Split(name, "/")
		host := words[len(words)-1]
		made[host] = &v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: host}, Spec: spec}
		for _, word := range words[:len(words)-1] {
			secret, presents := strings.CutPrefix(word, "presents ")
			switch {
			case presents:
				made[host].Status.Credentials = []v1alpha1.CredentialStatus{{SecretName: secret, Pods: 1}}
			case word == "unused":
				made[host].Status.Credentials = []v1alpha1.CredentialStatus{
					{SecretName: egress.DefaultSecretName(host)},
				}
			default:
				made[host].Labels = map[string]string{egress.LabelManagedBy: egress.ValueManagedBy}
			}
		}
	}
	return made
}
