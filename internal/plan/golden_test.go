package plan

import (
	"errors"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/test/golden"
)

const corpus = "../../test/testdata/plan"

// situation is an input file: the facts about a target at noon(), and the result of writing its
// plan.
type situation struct {
	EgressTarget v1alpha1.EgressTarget `json:"egressTarget"`
	// Siblings are the other EgressTargets of the namespace. Others are the target's objects and
	// possibly conflicting ones.
	Siblings       []v1alpha1.EgressTarget     `json:"siblings"`
	SinkholeRanges []string                    `json:"sinkholeRanges"`
	Others         []unstructured.Unstructured `json:"others"`
	Demands        []Demand                    `json:"demands"`
	Credentials    []struct {
		SecretName, Reason, Message string
		Pods                        int32
		Layout                      egress.Layout
		NotBefore, NotAfter         *metav1.Time
		PublicCA                    bool
		ServerCA                    *struct {
			NotBefore, NotAfter metav1.Time
			NotCA               bool
			Skipped             int
			Warnings            []credential.Finding
		}
	} `json:"credentials"`
	Standing    *Standing    `json:"standing"`
	NotAllowed  bool         `json:"notAllowed"`
	Issued      *Condition   `json:"issued"`
	UnusedSince *metav1.Time `json:"unusedSince"`
	// MissingKinds are the Istio kinds that the API server doesn't serve.
	MissingKinds []string `json:"missingKinds"`
	Taken        []string `json:"taken"`
	// Told are the workloads that know the problem.
	Told []struct {
		metav1.OwnerReference
		Reason string
	} `json:"told"`
	WriteError string `json:"writeError"`
}

// decision is a golden file.
type decision struct {
	// Objects are the kinds and names in the order of writing. Another corpus covers their content.
	Objects   []string                    `json:"objects"`
	Addresses []string                    `json:"addresses,omitempty"`
	Closed    bool                        `json:"closed"`
	Layout    egress.Layout               `json:"layout"`
	ServerCA  egress.ServerCA             `json:"serverCA"`
	Status    v1alpha1.EgressTargetStatus `json:"status"`
	Events    []Event                     `json:"events"`
	// Workloads are the events on workloads.
	Workloads []WorkloadEvent `json:"workloads,omitempty"`
	NextLook  metav1.Duration `json:"nextLook"`
}

// TestPlansAreTheGoldenOnes compares the plan for each situation of the corpus with its golden
// file.
func TestPlansAreTheGoldenOnes(t *testing.T) {
	inputs := golden.Inputs(t, corpus)
	for _, name := range golden.Names(inputs) {
		t.Run(name, func(t *testing.T) {
			given := readSituation(t, inputs[name])
			p := Decide(given.facts(t))
			written := Written{Taken: given.Taken}
			if given.WriteError != "" {
				written.Err = errors.New(given.WriteError)
			}
			status := p.Status(written)
			got := decision{
				Closed: p.Closed, Layout: p.Layout, ServerCA: p.Target.ServerCA, Status: status, Events: p.Events(status),
				NextLook: metav1.Duration{Duration: p.NextLook(status)},
			}
			got.Workloads, _ = p.WorkloadEvents(status, given.told())
			for _, object := range p.Objects() {
				got.Objects = append(got.Objects, object.GetObjectKind().GroupVersionKind().Kind+" "+object.GetName())
			}
			if all := p.Target.AllAddresses(); len(all) > 1 {
				for _, address := range all {
					got.Addresses = append(got.Addresses, address.String())
				}
			}
			golden.Compare(t, golden.File(inputs[name]), []byte(asYAML(t, got)))
		})
	}
}

// TestDecidingAgainChangesNothing checks that a second decision from the same facts gives the same
// status and no event.
func TestDecidingAgainChangesNothing(t *testing.T) {
	inputs := golden.Inputs(t, corpus)
	for _, name := range golden.Names(inputs) {
		t.Run(name, func(t *testing.T) {
			given := readSituation(t, inputs[name])
			facts := given.facts(t)
			first := Decide(facts).Status(Written{})
			facts.EgressTarget.Status, facts.Now = first, facts.Now.Add(time.Second)
			p := Decide(facts)
			second := p.Status(Written{})
			if events := p.Events(second); len(events) > 0 {
				t.Errorf("events: %+v", events)
			}
			if events, _ := p.WorkloadEvents(second, p.ToldBefore()); len(events) > 0 {
				t.Errorf("events on workloads: %+v", events)
			}
			if got, want := asYAML(t, second), asYAML(t, first); got != want {
				t.Errorf("the status is then\n%s\nand was\n%s", got, want)
			}
		})
	}
}

func readSituation(t *testing.T, file string) situation {
	t.Helper()
	var given situation
	for _, document := range golden.Documents(t, file) {
		if err := yaml.UnmarshalStrict(document, &given); err != nil {
			t.Fatal(err)
		}
	}
	return given
}

func (s situation) told() Told {
	told := Told{}
	for _, workload := range s.Told {
		told[workload.OwnerReference] = workload.Reason
	}
	return told
}

func asYAML(t *testing.T, value any) string {
	t.Helper()
	encoded, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func (s situation) facts(t *testing.T) Facts {
	t.Helper()
	facts := Facts{
		EgressTarget: &s.EgressTarget, Demands: s.Demands, Standing: s.Standing, Issued: s.Issued,
		UnusedSince: s.UnusedSince, MissingKinds: s.MissingKinds,
		Policy:   &policy.Decision{Allowed: !s.NotAllowed, Rule: policy.RuleOtherTargets},
		Warnings: NewExpiryWarnings(nil), Now: noon(),
	}
	var err error
	if facts.Sinkhole, err = egress.ParseSinkhole(s.SinkholeRanges); err != nil {
		t.Fatal(err)
	}
	rules := policy.Rules{Cluster: policy.Cluster{Other: policy.OtherAllow}}
	facts.EndpointProblems = rules.EndpointProblems(s.EgressTarget.Name,
		egress.FromEgressTarget(s.EgressTarget.Namespace, s.EgressTarget.Name, &s.EgressTarget, facts.Sinkhole).Endpoints)
	for _, sibling := range s.Siblings {
		facts.Siblings = append(facts.Siblings,
			egress.FromEgressTarget(s.EgressTarget.Namespace, sibling.Name, &sibling, facts.Sinkhole))
	}
	for _, c := range s.Credentials {
		check := CredentialCheck{
			SecretName: c.SecretName, Pods: c.Pods, Layout: c.Layout, Reason: c.Reason, Message: c.Message,
		}
		if c.NotAfter != nil {
			check.Credential = &credential.Credential{
				Subject: "CN=orders", Issuer: "CN=Partner CA", PublicCA: c.PublicCA,
				NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
			}
			check.longestWarning = longestWarning(egress.Target{}, c.SecretName, false, check.Credential)
		}
		if ca := c.ServerCA; ca != nil {
			check.ServerCA = &credential.ServerCA{
				Subject: "CN=Server CA", SerialNumber: "01", NotBefore: ca.NotBefore.UTC(), NotAfter: ca.NotAfter.UTC(),
				NotCA: ca.NotCA, Skipped: ca.Skipped, Warnings: ca.Warnings,
			}
		}
		facts.Credentials = append(facts.Credentials, check)
	}
	for _, object := range s.Others {
		switch object.GetKind() {
		case mesh.KindVirtualService:
			facts.Others.VirtualServices = append(facts.Others.VirtualServices, typed[networkingv1.VirtualService](t, object))
		case mesh.KindDestinationRule:
			facts.Others.DestinationRules = append(facts.Others.DestinationRules, typed[networkingv1.DestinationRule](t, object))
		case mesh.KindServiceEntry:
			facts.Others.ServiceEntries = append(facts.Others.ServiceEntries, typed[networkingv1.ServiceEntry](t, object))
		case mesh.KindSidecar:
			facts.Others.Sidecars = append(facts.Others.Sidecars, typed[networkingv1.Sidecar](t, object))
		default:
			t.Fatalf("an object of kind %s", object.GetKind())
		}
	}
	return facts
}

func typed[T any](t *testing.T, object unstructured.Unstructured) *T {
	t.Helper()
	converted, err := mesh.Typed[T](&object)
	if err != nil {
		t.Fatal(err)
	}
	return converted
}
