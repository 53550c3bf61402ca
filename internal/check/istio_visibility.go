package check

import (
	"fmt"
	"slices"
	"strings"

	"istio.io/api/label"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
)

// visibilityRules returns the rules for objects that the Pods' sidecars don't see, or that too many
// see.
func visibilityRules() []Rule {
	return []Rule{
		{
			ID: "MTE212", Group: Istio, Name: "rule-in-wrong-namespace", Severity: Error,
			Summary: "A DestinationRule is in a namespace where Istio doesn't look for it.",
			Effect: "Istio looks in the namespace of the Pod, then of the ServiceEntry, then in the root namespace. Calls " +
				"leave in plain text to port 443.",
			Fix:  "Move the DestinationRule to the namespace of the Pods, or of the ServiceEntry.",
			find: byHand(ruleInWrongNamespace),
		},
		{
			ID: "MTE213", Group: Istio, Name: "rule-hidden-by-namespace", Severity: Error,
			Summary: "A DestinationRule without TLS in the namespace of the Pods hides one with TLS in another namespace.",
			Effect: "Istio doesn't merge rules of different namespaces: for Pods of the namespace, only its own rule applies. " +
				"Their calls leave in plain text to port 443.",
			Fix:  "Repeat the TLS settings in the rule of the namespace, or delete it.",
			find: byHand(ruleHiddenByNamespace),
		},
		{
			ID: "MTE214", Group: Istio, Name: "hidden-by-export-to", Severity: Error,
			Summary: "exportTo hides a ServiceEntry, a VirtualService or a DestinationRule from the Pods that need it.",
			Effect:  "Sidecars don't see the object, so calls leave in plain text.",
			Fix:     `Write exportTo: ["."] in the namespace of the Pods, or export it to that namespace.`,
			find:    byHand(hiddenByExportTo),
		},
		{
			ID: "MTE215", Group: Istio, Name: "hidden-by-sidecar", Severity: Error,
			Summary: "A Sidecar doesn't import the ServiceEntry of the host.",
			Effect:  "The Pods that the Sidecar applies to don't see the objects, so their calls leave in plain text.",
			Fix:     "Add the host to spec.egress, for example as ./external.system.com, or ./*.",
			find:    byHand(hiddenBySidecar),
		},
		{
			ID: "MTE216", Group: Istio, Name: "hidden-by-revision", Severity: Error,
			Summary: "The objects for one host have different revisions in the label istio.io/rev.",
			Effect: "Each control plane reads only the objects without the label or with its own revision, so calls leave in " +
				"plain text or get 503.",
			Fix:  "Give all objects of the host the same label, or none.",
			find: byHand(hiddenByRevision),
		},
		{
			ID: "MTE217", Group: Istio, Name: "export-wider-than-certificate", Severity: Warning,
			Summary: "A DestinationRule with files of a client certificate is visible in namespaces whose Pods don't have them.",
			Effect: "Sidecars of all namespaces get the TLS settings without the files. They are ready after 15 seconds " +
				"instead of 1.5, and their calls to the host get 503.",
			Fix:  `Write exportTo: ["."] and a workloadSelector with a label of the Pods that mount the files.`,
			find: byHand(exportWiderThanCertificate),
		},
	}
}

func ruleInWrongNamespace(h *handWritten, report report) {
	for _, s := range h.starts {
		own := s.Location.Namespace
		routes, entries := h.sidecarRoutes(s.host), h.entriesFor(s.host)
		inOwn := func(r route) bool {
			return r.Location.Namespace == own || !visible(s.destinationRule, r.Location.Namespace)
		}
		if s.Value.Spec.WorkloadSelector != nil || own == h.root() || h.unknownNamespaces(s.host, own) ||
			len(routes) == 0 || len(entries) == 0 ||
			len(h.podsOf[own]) > 0 || slices.ContainsFunc(routes, inOwn) ||
			slices.ContainsFunc(entries, func(e entry) bool { return e.Location.Namespace == own }) ||
			h.reachedFrom(routes[0].Location.Namespace, s) {
			continue
		}
		report(s.Object, s.path, fmt.Sprintf(
			"Pods%s don't use this DestinationRule: Istio looks for one in their own namespace, in %s, where the ServiceEntry "+
				"is, and in %s", inNamespace(routes[0].Location.Namespace), entries[0].Location.Namespace, h.root()))
	}
}

// reachedFrom reports whether a namespace has TLS settings of its own for the host and the subset.
func (h *handWritten) reachedFrom(namespace string, s start) bool {
	return slices.ContainsFunc(h.startsOf[s.host], func(other start) bool {
		return other.Location.Namespace == namespace && other.subset == s.subset
	})
}

func (h *handWritten) root() string {
	if h.Options.RootNamespace != "" {
		return h.Options.RootNamespace
	}
	return mesh.DefaultRootNamespace
}

func ruleHiddenByNamespace(h *handWritten, report report) {
	for _, s := range h.starts {
		own := s.Location.Namespace
		if s.Value.Spec.WorkloadSelector != nil || h.unknownNamespaces(s.host, own) ||
			h.onlyInGateways(s.host) || h.ignoredBySidecars(s) {
			continue
		}
		for _, other := range h.rulesOf[s.host] {
			if namespace := other.Location.Namespace; namespace != own && visible(s.destinationRule, namespace) &&
				h.consulted(own, s.host) && !startsTLS(other) && !h.reachedFrom(namespace, s) {
				report(other.Object, []any{"spec", "host"}, fmt.Sprintf(
					"this rule hides the TLS settings of DestinationRule %s/%s from the Pods%s: Istio doesn't merge them",
					own, s.Location.Name, inNamespace(namespace)))
			}
		}
	}
}

// consulted reports whether Istio looks in the namespace for rules for Pods of other namespaces.
func (h *handWritten) consulted(namespace, host string) bool {
	return namespace == h.root() || slices.ContainsFunc(h.entriesFor(host), func(e entry) bool {
		return e.Location.Namespace == namespace
	})
}

func hiddenByExportTo(h *handWritten, report report) {
	for _, r := range h.routes {
		namespace := r.Location.Namespace
		if !r.inSidecars() || len(h.startsOf[r.host]) == 0 || h.unknownNamespaces(r.host, namespace) {
			continue
		}
		if !mesh.Visible(r.Value.Spec.ExportTo, namespace, namespace) && h.startsIn(r.host, namespace) {
			report(r.Object, exportToField(), hiddenText("the VirtualService", r.Value.Spec.ExportTo, namespace, r.host))
		}
		if hidden := h.hiddenEntries(r.host, namespace); len(hidden) > 0 {
			report(hidden[0].Object, exportToField(),
				hiddenText("the ServiceEntry", hidden[0].Value.Spec.ExportTo, namespace, r.host))
		}
		if hidden := h.hiddenStarts(r); len(hidden) > 0 {
			report(hidden[0].Object, exportToField(),
				hiddenText("the DestinationRule", hidden[0].Value.Spec.ExportTo, namespace, r.host))
		}
	}
}

// unknownNamespaces reports whether the namespace of some of the objects for the host is known, and
// that of others isn't, so that nothing shows whether they see each other.
func (h *handWritten) unknownNamespaces(host, namespace string) bool {
	other := func(each string) bool { return (each == "") != (namespace == "") }
	return slices.ContainsFunc(h.entriesFor(host), func(e entry) bool { return other(e.Location.Namespace) }) ||
		slices.ContainsFunc(h.rulesOf[host], func(rule destinationRule) bool { return other(rule.Location.Namespace) })
}

func exportToField() []any { return []any{"spec", "exportTo"} }

func hiddenText(what string, exportTo []string, namespace, host string) string {
	return fmt.Sprintf("exportTo (%s) hides %s from the Pods%s that call %s", strings.Join(exportTo, ", "), what,
		inNamespace(namespace), host)
}

// startsIn reports whether the namespace has TLS settings for the host.
func (h *handWritten) startsIn(host, namespace string) bool {
	return slices.ContainsFunc(h.startsOf[host], func(s start) bool { return s.Location.Namespace == namespace })
}

// hiddenEntries returns the ServiceEntries of a host if the namespace sees none of them.
func (h *handWritten) hiddenEntries(host, namespace string) []entry {
	entries := h.entriesFor(host)
	if slices.ContainsFunc(entries, func(e entry) bool {
		return mesh.Visible(e.Value.Spec.ExportTo, e.Location.Namespace, namespace)
	}) {
		return nil
	}
	return entries
}

// hiddenStarts returns the TLS settings that a route leads to, if its namespace sees none of them.
func (h *handWritten) hiddenStarts(r route) []start {
	var hidden []start
	for _, s := range h.startsOf[r.host] {
		switch {
		case !s.leadsTo(r):
		case visible(s.destinationRule, r.Location.Namespace) || s.Value.Spec.WorkloadSelector != nil:
			return nil
		default:
			hidden = append(hidden, s)
		}
	}
	return hidden
}

func hiddenBySidecar(h *handWritten, report report) {
	for _, sidecar := range h.Sidecars {
		namespace := sidecar.Location.Namespace
		if len(sidecar.Value.Spec.Egress) == 0 {
			continue
		}
		told := map[string]bool{}
		for _, s := range h.starts {
			if told[s.host] || s.Location.Namespace != namespace || strings.HasPrefix(s.host, "*") ||
				h.onlyInGateways(s.host) || !h.sharesPods(sidecar, s) || h.imported(sidecar, s.host) {
				continue
			}
			told[s.host] = true
			report(sidecar.Object, []any{"spec", "egress"}, fmt.Sprintf(
				"the Sidecar doesn't import %s, so the Pods%s that it applies to don't use DestinationRule %s",
				s.host, inNamespace(namespace), s.Location.Name))
		}
	}
}

// sharesPods reports whether the Sidecar applies to Pods that the settings are for. Where both have
// a selector, the input has to show such a Pod.
func (h *handWritten) sharesPods(sidecar Typed[*networkingv1.Sidecar], s start) bool {
	selector := sidecar.Value.Spec.GetWorkloadSelector()
	if selector == nil {
		return true
	}
	return slices.ContainsFunc(h.selected(s.destinationRule), func(pods *Pods) bool {
		return selects(selector.Labels, pods)
	})
}

// imported reports whether an egress listener of the Sidecar imports a ServiceEntry of the host, or
// one that could exist.
func (h *handWritten) imported(sidecar Typed[*networkingv1.Sidecar], host string) bool {
	for _, listener := range sidecar.Value.Spec.Egress {
		entries := h.entriesFor(host)
		if len(entries) == 0 && admits(listener.Hosts, sidecar.Location.Namespace, "", host) {
			return true
		}
		for _, e := range entries {
			if admits(listener.Hosts, sidecar.Location.Namespace, e.Location.Namespace, e.host) {
				return true
			}
		}
	}
	return false
}

// admits reports whether egress hosts, in the form namespace/pattern, import a host of the
// namespace from; "" is any. Entries that start with ~ exclude.
func admits(hosts []string, own, from, host string) bool {
	admitted := false
	for _, each := range hosts {
		namespace, pattern, _ := strings.Cut(each, "/")
		namespace, excludes := strings.CutPrefix(namespace, "~")
		means := namespace == "*" || from == "" || namespace == "." && from == own || namespace == from ||
			namespace == "" && excludes
		if !means || !mesh.Covers(pattern, host) {
			continue
		}
		if excludes {
			return false
		}
		admitted = true
	}
	return admitted
}

func hiddenByRevision(h *handWritten, report report) {
	for _, rule := range h.DestinationRules {
		host := mesh.NormalHost(rule.Value.Spec.Host)
		if !h.external(host) || !startsTLS(rule) {
			continue
		}
		for _, e := range h.entriesFor(host) {
			reportRevisions(rule, e.Object, e.Value, report)
		}
		for _, router := range h.routersOf[host] {
			reportRevisions(rule, router.Object, router.Value, report)
		}
	}
}

// reportRevisions reports the object with the revision if the DestinationRule and another object of
// its host have different ones.
func reportRevisions(rule destinationRule, other manifests.Object, value metav1.Object, report report) {
	ours, theirs := revisionOf(rule.Value), revisionOf(value)
	if ours == theirs || rule.Location.Namespace != other.Location.Namespace {
		return
	}
	at, revision, without := rule.Object, ours, other
	if ours == "" {
		at, revision, without = other, theirs, rule.Object
	}
	report(at, []any{"metadata", "labels", label.IoIstioRev.Name}, fmt.Sprintf(
		"only the control plane %s reads this object, and %s %s doesn't have the label with the same value", revision,
		without.Location.Kind, without.Location.Name))
}

func revisionOf(object metav1.Object) string { return object.GetLabels()[label.IoIstioRev.Name] }

func exportWiderThanCertificate(h *handWritten, report report) {
	for _, rule := range h.DestinationRules {
		index := slices.IndexFunc(startsIn(rule), func(s start) bool {
			return h.external(s.host) && s.presents() && s.hasClientFiles() && !strings.HasPrefix(s.host, "*")
		})
		exportTo := rule.Value.Spec.ExportTo
		wide := len(exportTo) == 0 || slices.ContainsFunc(exportTo, func(namespace string) bool {
			return namespace != "." && namespace != rule.Location.Namespace
		})
		if index < 0 || !wide || rule.Value.Spec.WorkloadSelector != nil ||
			h.onlyInGateways(mesh.NormalHost(rule.Value.Spec.Host)) {
			continue
		}
		report(rule.Object, exportToField(), fmt.Sprintf(
			"sidecars of other namespaces get the TLS settings for %s too, without the file %s",
			mesh.NormalHost(rule.Value.Spec.Host), startsIn(rule)[index].tls.ClientCertificate))
	}
}
