package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// Other is what holds for a host that no list speaks of.
type Other string

// The values of Other, as the chart's policy.otherTargets has them.
const (
	OtherAllow Other = "Allow"
	OtherDeny  Other = "Deny"
)

// ParseOther reads the value of --other-targets.
func ParseOther(text string) (Other, error) {
	switch other := Other(text); other {
	case OtherAllow, OtherDeny:
		return other, nil
	}
	return "", fmt.Errorf("%q is neither %s nor %s", egress.Excerpt(text), OtherAllow, OtherDeny)
}

// Cluster is what holds for all namespaces.
type Cluster struct {
	Allowed []Pattern
	// Other decides where neither Allowed nor the namespace does. The zero value denies.
	Other Other
	// Domain is the DNS domain of the cluster, below which it answers names itself. Default:
	// DefaultDomain.
	Domain string
}

// DefaultDomain is the DNS domain of a cluster that was not given another one.
// https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
const DefaultDomain = "cluster.local"

// answers reports whether the cluster's DNS answers host by its form alone: NAME.NAMESPACE.svc,
// which Pods look up below the cluster's domain first, and whatever is at or below that domain.
func (c Cluster) answers(host string) bool {
	domain := cmp.Or(c.Domain, DefaultDomain)
	return strings.HasSuffix(host, ".svc") || host == domain || strings.HasSuffix(host, "."+domain)
}

// Namespace is what the annotation of a Namespace says. The zero value is a Namespace without the
// annotation.
type Namespace struct {
	// Annotated says that the annotation is there, be it empty.
	Annotated bool
	Allowed   []Pattern
	// Problems are what is wrong with the annotation. With any of them, none of its entries counts.
	Problems field.ErrorList
}

// ReadNamespace reads the annotations of a Namespace.
func ReadNamespace(annotations map[string]string) Namespace {
	value, annotated := annotations[egress.AnnotationAllowedTargets]
	if !annotated {
		return Namespace{}
	}
	allowed, problems := ParseAnnotation(value, field.NewPath("metadata", "annotations").Key(egress.AnnotationAllowedTargets))
	return Namespace{Annotated: true, Allowed: allowed, Problems: problems}
}

// Rules are all that decides over the targets of one namespace.
type Rules struct {
	Cluster   Cluster
	Namespace Namespace
	// Services are the hosts that are the short name, NAME.NAMESPACE, of a Service.
	Services []string
	// DynamicDNS reports whether sidecars of the mesh resolve unknown hosts themselves: see
	// mesh.Config.
	DynamicDNS bool
}

// Decide is [Decide] with these rules, of which the Services come first.
func (r Rules) Decide(host string) Decision {
	if slices.Contains(r.Services, host) {
		return Decision{Rule: RuleService}
	}
	return Decide(r.Cluster, r.Namespace, host)
}

// Rule is what a decision rests on.
type Rule string

// The rules, in the order in which they are asked.
const (
	RuleService           Rule = "Service"
	RuleClusterName       Rule = "ClusterName"
	RuleClusterList       Rule = "ClusterList"
	RuleInvalidAnnotation Rule = "InvalidAnnotation"
	RuleNamespaceList     Rule = "NamespaceList"
	RuleOtherTargets      Rule = "OtherTargets"
)

// Decision reports whether a namespace may reach a host, and by which rule.
type Decision struct {
	Allowed bool
	Rule    Rule
	// Entry is the pattern that allowed the host; empty when none did.
	Entry string
	// Problems are those of the annotation, when the rule is RuleInvalidAnnotation.
	Problems field.ErrorList
}

// Decide reports whether namespace may reach host, which is in the form that [egress.NormalizeHost]
// returns. What the cluster's DNS answers itself is no partner, and refused whatever the lists say.
// What the cluster's list matches is allowed. Of the rest, a namespace with the annotation reaches
// what its own list matches, and nothing when the list is invalid; one without the annotation
// reaches what cluster.Other says.
func Decide(cluster Cluster, namespace Namespace, host string) Decision {
	if cluster.answers(host) {
		return Decision{Rule: RuleClusterName}
	}
	if entry, ok := match(cluster.Allowed, host); ok {
		return Decision{Allowed: true, Rule: RuleClusterList, Entry: entry}
	}
	if len(namespace.Problems) > 0 {
		return Decision{Rule: RuleInvalidAnnotation, Problems: namespace.Problems}
	}
	if namespace.Annotated {
		entry, ok := match(namespace.Allowed, host)
		return Decision{Allowed: ok, Rule: RuleNamespaceList, Entry: entry}
	}
	return Decision{Allowed: cluster.Other == OtherAllow, Rule: RuleOtherTargets}
}

func match(patterns []Pattern, host string) (string, bool) {
	for _, pattern := range patterns {
		if pattern.Matches(host) {
			return pattern.String(), true
		}
	}
	return "", false
}

// Explain returns the decision as a sentence about host in the namespace of that name: the rule
// and, for a denial, who can change it.
func (d Decision) Explain(namespace, host string) string {
	switch {
	case d.Rule == RuleClusterList:
		return fmt.Sprintf("namespace %s may reach %s: the entry %s of policy.allowedTargets in the chart's values matches it", namespace, host, d.Entry)
	case d.Rule == RuleNamespaceList && d.Allowed:
		return fmt.Sprintf("namespace %s may reach %s: the entry %s of the Namespace's annotation %s matches it", namespace, host, d.Entry, egress.AnnotationAllowedTargets)
	case d.Rule == RuleOtherTargets && d.Allowed:
		return fmt.Sprintf("namespace %s may reach %s: no list matches it, and policy.otherTargets in the chart's values is %s", namespace, host, OtherAllow)
	}
	const notAPartner = ", and not a partner outside the mesh: call it without a target; the mesh has mutual TLS of its own for it"
	if d.Rule == RuleService {
		return host + " is the name of a Service of the cluster" + notAPartner
	}
	if d.Rule == RuleClusterName {
		return host + " is a name that the cluster answers itself" + notAPartner
	}
	denial := fmt.Sprintf("namespace %s may not reach %s: ", namespace, host)
	const (
		whoNamespace = "Whoever may change the Namespace object"
		whoCluster   = "the cluster's administrators can add it to policy.allowedTargets in the chart's values"
	)
	if d.Rule == RuleInvalidAnnotation {
		problems := make([]string, len(d.Problems))
		for i, problem := range d.Problems {
			problems[i] = problem.Error()
		}
		return denial + fmt.Sprintf("the Namespace's annotation is invalid, so it allows nothing (%s). %s can correct it; %s",
			strings.Join(problems, "; "), whoNamespace, whoCluster)
	}
	if d.Rule == RuleNamespaceList {
		return denial + fmt.Sprintf("neither the Namespace's annotation %s nor policy.allowedTargets in the chart's values has an entry that matches it. "+
			"%s can add it to the annotation; %s", egress.AnnotationAllowedTargets, whoNamespace, whoCluster)
	}
	return denial + fmt.Sprintf("no entry of policy.allowedTargets in the chart's values matches it, and policy.otherTargets is %s. "+
		"%s can list it in the annotation %s; %s", OtherDeny, whoNamespace, egress.AnnotationAllowedTargets, whoCluster)
}
