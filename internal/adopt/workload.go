package adopt

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
)

// Workload is a workload whose calls use the hand-written objects.
type Workload struct {
	manifests.Object

	// Before are the annotations of this project that it has, and Annotations those that take the
	// place of the objects.
	Before, Annotations map[string]string
	// Secret is the one that it mounts.
	Secret string
	// Volumes are the names of the volumes in its annotations that nothing else needs afterwards, and
	// Mounts those of its own volumes that the annotations mount.
	Volumes, Mounts []string
	// Pods selects the Pods of the workload by the labels of its template.
	Pods map[string]string
	// ByHand reports whether Kubernetes doesn't replace the Pods of the workload when it changes, so
	// that its owner has to recreate it.
	ByHand bool
}

// findWorkloads finds the workloads, and the Secret that they mount.
func (s *set) findWorkloads() {
	if name := s.tls.GetCredentialName(); name != "" {
		s.findByCredentialName(name)
	} else {
		s.findByFiles()
	}
	if len(s.proposal.Refused) > 0 {
		return
	}
	if s.checkPassedOver(); len(s.proposal.Refused) == 0 && len(s.proposal.Workloads) == 0 {
		s.refuse(fmt.Sprintf("no workload of the input uses the %s: its files are in no sidecar, or its "+
			"workloadSelector matches none; add the workloads to the input", reference(s.rules[0].Object)))
	}
}

// findByCredentialName finds the workloads whose sidecars fetch the Secret from istiod.
func (s *set) findByCredentialName(name string) {
	name = strings.TrimPrefix(name, "kubernetes://")
	if s.rules[0].Value.Spec.GetWorkloadSelector() == nil {
		s.refuse(fmt.Sprintf("the %s has credentialName and no workloadSelector, so sidecars ignore its TLS settings, and "+
			"calls leave in plain text today; create the EgressTarget with credential.secretName: %s, annotate the "+
			"workloads that call the host, and delete the objects", reference(s.rules[0].Object), name))
		return
	}
	s.setSecret(Secret{Name: name})
	for _, pods := range s.selected() {
		if s.follow(pods) {
			s.addWorkload(pods, "", nil)
		} else {
			s.passOver(pods)
		}
	}
	if s.hasSecret(name + "-cacert") {
		s.proposal.EgressTarget.Spec.ServerCA = nil
		s.proposal.Notes = append(s.proposal.Notes, fmt.Sprintf("The CA is in the Secret %s-cacert, which a target doesn't "+
			"read: copy it into the Secret %s first, as ca.crt beside tls.crt, or cacert beside cert.", name, name))
	}
}

func (s *set) hasSecret(name string) bool {
	return slices.ContainsFunc(s.world.Secrets, func(secret check.Typed[*corev1.Secret]) bool {
		return secret.Location.Namespace == s.namespace && secret.Location.Name == name
	})
}

// selected returns the Pods of the namespace that the DestinationRule applies to.
func (s *set) selected() []check.Pods {
	selector := labels.SelectorFromSet(s.rules[0].Value.Spec.GetWorkloadSelector().GetMatchLabels())
	var selected []check.Pods
	for _, pods := range s.world.Pods {
		if pods.Location.Namespace == s.namespace && selector.Matches(labels.Set(pods.Value.Labels)) {
			selected = append(selected, pods)
		}
	}
	return selected
}

// findByFiles finds the workloads whose sidecars have the files of the TLS settings.
func (s *set) findByFiles() {
	for _, pods := range s.selected() {
		mounted := mountsOf(&pods.Value)
		certificate, found := mounted.locate(s.tls.GetClientCertificate())
		if !found {
			continue
		}
		if !s.follow(pods) {
			s.passOver(pods)
			continue
		}
		key, hasKey := mounted.locate(s.tls.GetPrivateKey())
		where := reference(pods.Object)
		switch {
		case certificate.secret == "":
			s.refuse(fmt.Sprintf("the client certificate of the %s is not in a Secret; put it, its key and the CA into one",
				where))
			return
		case !hasKey || key.secret != certificate.secret:
			s.refuse(fmt.Sprintf("the private key of the %s (%s) is not in the Secret of its certificate, %s; put both into "+
				"one Secret", where, s.tls.GetPrivateKey(), certificate.secret))
			return
		}
		secret := Secret{
			Name: certificate.secret, Layout: egress.Layout{Certificate: certificate.key, PrivateKey: key.key},
		}
		ca, ok := s.readCA(mounted, &secret, where)
		if !ok {
			return
		}
		if certificate.fixed {
			s.changeOnce("The sidecars use a renewed certificate without a restart. Today they don't, because of subPath.")
		}
		if !s.addSecret(secret, where) {
			return
		}
		s.addWorkload(pods, secret.Name, []file{certificate, key, ca})
	}
}

// readCA reads the CA of the partner, and puts its key into the layout or its place into the
// EgressTarget.
func (s *set) readCA(mounted mounts, secret *Secret, where string) (file, bool) {
	spec := &s.proposal.EgressTarget.Spec
	name := s.tls.GetCaCertificates()
	if name == "" || name == systemCAs {
		spec.ServerCA = &v1alpha1.ServerCA{System: new(true)}
		return file{}, true
	}
	ca, found := mounted.locate(name)
	switch {
	case found && ca.configMap != "":
		spec.ServerCA = &v1alpha1.ServerCA{ConfigMap: &v1alpha1.ConfigMapKey{Name: ca.configMap, Key: ca.key}}
	case found && ca.secret == secret.Name:
		secret.Layout.ServerCA = ca.key
	case found:
		s.refuse(fmt.Sprintf("the CA of the %s is in the Secret %s, and the certificate in %s; put the CA into the Secret "+
			"%s, or into a ConfigMap", where, ca.secret, secret.Name, secret.Name))
	default:
		s.refuse(fmt.Sprintf("the CA of the %s (%s) comes from no volume of its annotations, so it is a file of the "+
			"sidecar's image or of a host; put it into the Secret %s", where, name, secret.Name))
	}
	return ca, len(s.proposal.Refused) == 0
}

// addSecret sets the Secret of the first workload for all. Others with the same keys are named in
// the annotation of their workload.
func (s *set) addSecret(secret Secret, where string) bool {
	switch {
	case s.proposal.Secret.Name == "":
		s.setSecret(secret)
	case s.proposal.Secret.Layout != secret.Layout:
		s.refuse(fmt.Sprintf("the Secret %s of the %s has other keys than %s (%s and %s); give them the same keys",
			secret.Name, where, s.proposal.Secret.Name, secret.Layout, s.proposal.Secret.Layout))
		return false
	}
	return true
}

func (s *set) changeOnce(sentence string) {
	if !slices.Contains(s.proposal.Changes, sentence) {
		s.change(sentence)
	}
}

// addWorkload adds a workload with the annotations that ask for the target, after those for other
// targets. Those are in the workload's own metadata, unless somebody wrote them into the template.
func (s *set) addWorkload(pods check.Pods, secret string, files []file) {
	if slices.ContainsFunc(s.proposal.Workloads, func(other Workload) bool {
		return other.Kind == pods.Kind && other.Location.Name == pods.Location.Name
	}) {
		return // another template of the same workload
	}
	own := annotationsOf(pods.Object)
	written := pods.Value.Annotations
	if len(pods.Path) > 0 && own[egress.AnnotationTarget] == "" && written[egress.AnnotationTarget] != "" &&
		!asksFor(written[egress.AnnotationTarget], s.host) {
		s.refuse(fmt.Sprintf("the Pod template of the %s has the annotation %s: %s, which wins over one of the workload; "+
			"move it into the workload's own metadata", reference(pods.Object), egress.AnnotationTarget,
			written[egress.AnnotationTarget]))
		return
	}
	if !s.checkAskedPort(pods, own[egress.AnnotationTarget]) || !s.checkAskedPort(pods, written[egress.AnnotationTarget]) {
		return
	}
	if secret == "" {
		secret = s.proposal.Secret.Name
	}
	s.proposal.Workloads = append(s.proposal.Workloads, Workload{
		Object: pods.Object, Before: ours(own), Secret: secret, Pods: pods.Value.Labels,
		Volumes: volumesOf(files, true), Mounts: volumesOf(files, false),
		ByHand: pods.Kind.Kind == "Pod" || pods.Kind.Kind == "Job" || pods.Kind.Kind == "JobSet",
	})
}

// checkAskedPort refuses a workload whose annotation names another port for the host: admission
// refuses it beside the EgressTarget.
func (s *set) checkAskedPort(pods check.Pods, text string) bool {
	want := strconv.FormatUint(uint64(s.partnerPort()), 10)
	for _, entry := range entries(text) {
		if name, port, _ := strings.Cut(entry, ":"); mesh.NormalHost(name) == s.host && port != "" && port != want {
			s.refuse(fmt.Sprintf("the %s has the annotation %s: %s, and the hand-written objects lead calls to port %s; "+
				"write %s, or delete the objects if %s is right", reference(pods.Object), egress.AnnotationTarget, entry, want,
				s.host, port))
			return false
		}
	}
	return true
}

// volumesOf returns the names of the volumes of the files: those that the annotation adds, or those
// of the Pod.
func volumesOf(files []file, added bool) []string {
	var names []string
	for _, file := range files {
		if file.volume != "" && file.added == added {
			names = append(names, file.volume)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ours returns the annotations that ask for targets.
func ours(annotations map[string]string) map[string]string {
	found := map[string]string{}
	for _, name := range []string{egress.AnnotationTarget, egress.AnnotationSecret} {
		if value := annotations[name]; value != "" {
			found[name] = value
		}
	}
	return found
}

// asking returns the annotations that ask for the host too. usual is the Secret of the
// EgressTarget.
func asking(before map[string]string, host, secret, usual string) map[string]string {
	annotations, hosts := maps.Clone(before), entries(before[egress.AnnotationTarget])
	if !asksFor(before[egress.AnnotationTarget], host) {
		annotations[egress.AnnotationTarget] = strings.Join(append(slices.Clone(hosts), host), ",")
	}
	named := before[egress.AnnotationSecret]
	if secret != usual || named != "" && !strings.Contains(named, "=") && named != secret {
		annotations[egress.AnnotationSecret] = secretsWith(named, hosts, host, secret)
	}
	return annotations
}

// without returns the annotations that no longer ask for the host.
func without(before map[string]string, host string) map[string]string {
	left := func(name, separator string) string {
		return strings.Join(slices.DeleteFunc(entries(before[name]), func(entry string) bool {
			key, _, found := strings.Cut(entry, separator)
			return mesh.NormalHost(key) == host && (found || separator == ":")
		}), ",")
	}
	annotations := map[string]string{}
	if asked := left(egress.AnnotationTarget, ":"); asked != "" {
		annotations[egress.AnnotationTarget] = asked
		if named := left(egress.AnnotationSecret, "="); named != "" {
			annotations[egress.AnnotationSecret] = named
		}
	}
	return annotations
}

// changes returns what has to be set to come from one set of annotations to another. An empty value
// removes the annotation.
func changes(from, to map[string]string) map[string]string {
	changed := map[string]string{}
	for name := range from {
		if to[name] == "" {
			changed[name] = ""
		}
	}
	for name, value := range to {
		if from[name] != value {
			changed[name] = value
		}
	}
	return changed
}

// entries returns the entries of an annotation, which are separated by commas.
func entries(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// asksFor reports whether the annotation mtls.egress/target has the host.
func asksFor(text, host string) bool {
	return slices.ContainsFunc(entries(text), func(entry string) bool {
		name, _, _ := strings.Cut(entry, ":")
		return mesh.NormalHost(name) == host
	})
}

// secretsWith returns the annotation mtls.egress/secret with the Secret of the host. hosts are
// those to which a single name applied before.
func secretsWith(named string, hosts []string, host, secret string) string {
	all := entries(named)
	if named != "" && !strings.Contains(named, "=") {
		all = nil
		for _, other := range hosts {
			other, _, _ = strings.Cut(other, ":")
			all = append(all, other+"="+named)
		}
	}
	return strings.Join(append(all, host+"="+secret), ",")
}

func annotationsOf(object manifests.Object) map[string]string {
	metadata, _ := object.Content["metadata"].(map[string]any)
	found, _ := metadata["annotations"].(map[string]any)
	annotations := map[string]string{}
	for name, value := range found {
		if text, ok := value.(string); ok {
			annotations[name] = text
		}
	}
	return annotations
}
