package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// Other is the policy for a host that no list covers.
type Other string

// The values of Other, as in the chart's policy.otherTargets.
const (
	OtherAllow Other = "Allow"
	OtherDeny  Other = "Deny"
)

// ParseOther parses the value of --other-targets.
func ParseOther(text string) (Other, error) {
	switch other := Other(text); other {
	case OtherAllow, OtherDeny:
		return other, nil
	}
	return "", fmt.Errorf("%q is neither %s nor %s", egress.Excerpt(text), OtherAllow, OtherDeny)
}

// Cluster is what the administrator sets for all namespaces.
type Cluster struct {
	Allowed []Pattern
	// Other applies if neither Allowed nor the namespace decides. The zero value denies.
	Other Other
	// Domain is the DNS domain of the cluster, in which its DNS is authoritative. Defaults to
	// DefaultDomain.
	Domain string
	// Sinkhole are the ranges of the sinkhole addresses.
	Sinkhole egress.Sinkhole
	// AllowedEndpoints match the endpoints that targets may have although they are in the cluster, or
	// not among the hosts that the namespace may reach. See Rules.EndpointProblems.
	AllowedEndpoints []Pattern
}

// DefaultDomain is the default DNS domain of a cluster.
//
// https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
const DefaultDomain = "cluster.local"

// answers reports whether the form of host alone shows that it is cluster-internal. That is
// the case for NAME.NAMESPACE.svc, which Pods look up in the cluster's domain first, and for the
// domain and all names below it.
func (c Cluster) answers(host string) bool {
	domain := cmp.Or(c.Domain, DefaultDomain)
	return strings.HasSuffix(host, ".svc") || host == domain || strings.HasSuffix(host, "."+domain)
}

// Namespace is the policy in the annotation of a Namespace. The zero value is a Namespace without
// the annotation.
type Namespace struct {
	// Annotated reports whether the annotation exists, even if it is empty.
	Annotated bool
	Allowed   []Pattern
	// Problems are the errors in the annotation. If there are any, none of its entries apply.
	Problems field.ErrorList
}

// ReadNamespace parses the annotations of a Namespace.
func ReadNamespace(annotations map[string]string) Namespace {
	value, annotated := annotations[egress.AnnotationAllowedTargets]
	if !annotated {
		return Namespace{}
	}
	allowed, problems := ParseAnnotation(value,
		field.NewPath("metadata", "annotations").Key(egress.AnnotationAllowedTargets))
	return Namespace{Annotated: true, Allowed: allowed, Problems: problems}
}

// Rules holds everything that decides about the targets of one namespace.
type Rules struct {
	Cluster   Cluster
	Namespace Namespace
	// Services are the hosts that equal the short name, NAME.NAMESPACE, of a Service.
	Services []string
	// DynamicDNS reports whether the sidecars of the mesh resolve unknown hosts. See mesh.Config.
	DynamicDNS bool
}

// Decide applies the Services first, and then calls [Decide] with these rules.
func (r Rules) Decide(host string) Decision {
	if slices.Contains(r.Services, host) {
		return Decision{Rule: RuleService}
	}
	return Decide(r.Cluster, r.Namespace, host)
}

// Rule is the reason for a decision.
type Rule string

// The rules, in order of precedence.
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
	// Entry is the pattern that allowed the host, or "".
	Entry string
	// Problems are those of the annotation if Rule is RuleInvalidAnnotation.
	Problems field.ErrorList
}

// Decide reports whether namespace may reach host, which [egress.NormalizeHost] has normalized. A
// cluster-internal name is not an external host, so it is denied regardless of the
// lists. A host that the cluster-wide list matches is allowed. For all other hosts, a namespace
// with the annotation may reach what its own list matches, and nothing if the list is invalid. For
// a namespace without the annotation, cluster.Other decides.
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

// Explain returns the decision about host in the namespace as a sentence. It names the rule and,
// for a denial, who can change it.
func (d Decision) Explain(namespace, host string) string {
	switch {
	case d.Rule == RuleClusterList:
		return fmt.Sprintf(
			"namespace %s may reach %s: the entry %s of policy.allowedTargets in the chart's values matches it",
			namespace, host, d.Entry)
	case d.Rule == RuleNamespaceList && d.Allowed:
		return fmt.Sprintf("namespace %s may reach %s: the entry %s of the Namespace's annotation %s matches it",
			namespace, host, d.Entry, egress.AnnotationAllowedTargets)
	case d.Rule == RuleOtherTargets && d.Allowed:
		return fmt.Sprintf(
			"namespace %s may reach %s: no list matches it, and policy.otherTargets in the chart's values is %s",
			namespace, host, OtherAllow)
	}
	const notAPartner = ", not an external host: call it without a target; the mesh uses its own mutual TLS for it"
	if d.Rule == RuleService {
		return host + " is the name of a Service in the cluster" + notAPartner
	}
	if d.Rule == RuleClusterName {
		return host + " is a cluster-internal name" + notAPartner
	}
	denial := fmt.Sprintf("namespace %s may not reach %s: ", namespace, host)
	const (
		namespaceEditor = "A user who may change the Namespace object"
		clusterAdmin    = "a cluster administrator can add it to policy.allowedTargets in the chart's values"
	)
	if d.Rule == RuleInvalidAnnotation {
		problems := make([]string, len(d.Problems))
		for i, problem := range d.Problems {
			problems[i] = problem.Error()
		}
		return denial + fmt.Sprintf(
			"the Namespace's annotation is invalid, so it allows nothing (%s). %s can correct it; %s",
			strings.Join(problems, "; "), namespaceEditor, clusterAdmin)
	}
	if d.Rule == RuleNamespaceList {
		return denial + fmt.Sprintf(
			"neither the Namespace's annotation %s nor policy.allowedTargets in the chart's values has "+
				"an entry that matches it. "+
				"%s can add it to the annotation; %s", egress.AnnotationAllowedTargets, namespaceEditor, clusterAdmin)
	}
	return denial + fmt.Sprintf(
		"no entry of policy.allowedTargets in the chart's values matches it, and policy.otherTargets is %s. "+
			"%s can list it in the annotation %s; %s", OtherDeny, namespaceEditor, egress.AnnotationAllowedTargets,
		clusterAdmin)
}
