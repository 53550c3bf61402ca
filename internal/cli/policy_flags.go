package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/policy"
)

// policyFlags are what an administrator sets for the whole cluster: which namespaces may reach
// which hosts, and the ranges of the sinkhole addresses.
type policyFlags struct {
	allowedTargets   []string
	otherTargets     string
	clusterDomain    string
	sinkholeRanges   []string
	allowedEndpoints []string
}

func (f *policyFlags) addFlags(set *pflag.FlagSet) {
	set.StringSliceVar(&f.allowedTargets, "allowed-targets", nil,
		"The hosts that every namespace may reach. * matches one label, a leading ** one or more labels, "+
			"and * alone every host.")
	set.StringVar(&f.otherTargets, "other-targets", string(policy.OtherAllow),
		"Allow or Deny: whether a namespace may reach hosts that --allowed-targets doesn't match. With the annotation "+
			egress.AnnotationAllowedTargets+", it may reach only those of them that the annotation matches.")
	set.StringVar(&f.clusterDomain, "cluster-domain", policy.DefaultDomain,
		"The DNS domain of the cluster. Names in this domain, and names that end in .svc, "+
			"are not external hosts and are rejected.")
	set.StringSliceVar(&f.sinkholeRanges, "sinkhole-ranges", []string{egress.DefaultSinkholeRange},
		"The address ranges that aren't routed. Inside Pods the names of targets have addresses in the first one. "+
			"The others are those that running Pods still use.")
	set.StringSliceVar(&f.allowedEndpoints, "allowed-endpoints", nil,
		"The names of the cluster that spec.endpoints of EgressTargets may have, for example "+
			"gateway.egress.svc.cluster.local. The patterns are those of --allowed-targets, and IP "+
			"addresses. Where a namespace may not reach every host, relays outside the cluster need an entry too.")
}

// cluster returns the policy in the flags, and all errors in them.
func (f *policyFlags) cluster() (policy.Cluster, []error) {
	var problems []error
	allowed, wrong := policy.ParsePatterns(f.allowedTargets, field.NewPath("--allowed-targets"))
	for _, problem := range wrong {
		problems = append(problems, problem)
	}
	other, err := policy.ParseOther(f.otherTargets)
	if err != nil {
		problems = append(problems, fmt.Errorf("--other-targets: %w", err))
	}
	if wrong := validation.IsDNS1123Subdomain(f.clusterDomain); len(wrong) > 0 {
		problems = append(problems,
			fmt.Errorf("--cluster-domain: %q: %s", egress.Excerpt(f.clusterDomain), strings.Join(wrong, "; ")))
	}
	sinkhole, err := egress.ParseSinkhole(f.sinkholeRanges)
	if err != nil {
		problems = append(problems, fmt.Errorf("--sinkhole-ranges: %w", err))
	}
	endpoints, wrong := policy.ParseEndpoints(f.allowedEndpoints, field.NewPath("--allowed-endpoints"))
	for _, problem := range wrong {
		problems = append(problems, problem)
	}
	return policy.Cluster{
		Allowed: allowed, Other: other, Domain: f.clusterDomain, Sinkhole: sinkhole, AllowedEndpoints: endpoints,
	}, problems
}
