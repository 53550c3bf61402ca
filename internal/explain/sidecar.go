package explain

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/verify"
)

// lookConfigured reports whether the sidecar has the target's listener, route and cluster.
func lookConfigured(f *Facts) finding {
	s := f.Sidecar
	switch {
	case f.Pod == nil:
		return skipped("there is no Pod")
	case s == nil:
		return unknown(f.unread(SourceEnvoy))
	}
	t := f.Target()
	var missing []string
	if s.Subset == nil {
		missing = append(missing, "the cluster "+subsetName(t))
	}
	if !s.Routed {
		missing = append(missing, "the route of "+t.Host)
	}
	if !s.Listens {
		missing = append(missing, fmt.Sprintf("a listener for port %d", t.AppPort))
	}
	if s.Subset != nil && (!s.Subset.TLS || s.Subset.SNI != t.SNI) {
		missing = append(missing, "TLS with the server name "+t.SNI)
	}
	if len(missing) == 0 {
		return fine(fmt.Sprintf("a listener, the route and the cluster %s with TLS", subsetName(t)))
	}
	advice := []string{"check that istiod runs, that the Pod reaches it, and that the objects have no other istio.io/rev"}
	for _, sidecar := range f.Others.Sidecars {
		if sidecar.Namespace == f.Namespace {
			advice = append(advice, "the Sidecar "+sidecar.Name+" must not leave out ./*")
		}
	}
	return failed(SidecarNotInSync, fmt.Sprintf("the sidecar of %s lacks %s, although the objects are there; %s",
		f.subject(), strings.Join(missing, ", "), strings.Join(advice, "; ")),
		"istioctl proxy-status "+f.Pod.Name+"."+f.Namespace)
}

// subsetName is the name of the cluster with mutual TLS.
func subsetName(t egress.Target) string {
	return fmt.Sprintf("outbound|%d|%s|%s", t.Port, mesh.SubsetName, egress.MeshHost(t.Host))
}

// ownName is the name of the cluster for the app's own TLS.
func ownName(t egress.Target) string {
	return fmt.Sprintf("outbound|%d||%s", t.Port, egress.MeshHost(t.Host))
}

// lookCertificates compares the certificates that the sidecar has loaded with the Secret.
func lookCertificates(f *Facts) finding {
	s := f.Sidecar
	if s == nil {
		return unknown(f.unread(SourceEnvoy))
	}
	logs := fmt.Sprintf("kubectl logs %s -n %s -c %s", f.Pod.Name, f.Namespace, egress.ProxyContainer)
	if !s.Asked {
		return unknown("Envoy didn't say which certificate it has")
	}
	if s.Serial == "" {
		return failed(FilesNotSupplied, fmt.Sprintf("the sidecar has not loaded the files in %s: they are missing, can't "+
			"be read, "+
			"or don't belong together; a changed Secret is in the Pod after about a minute", egress.MountPath(f.Host)), logs)
	}
	want, until := f.presented()
	if want == "" {
		return unknown("the serial number of the Secret's certificate is not known: " + f.unread(SourceSecret))
	}
	if s.Serial == want {
		return fine("it presents the serial number " + want)
	}
	detail := fmt.Sprintf("the sidecar of %s doesn't present the certificate of the Secret, with the serial number %s "+
		"(until %s); "+
		"it has %s", f.subject(), want, until, s.Serial)
	switch {
	case f.presentsOther():
		return failed(PodsOutdated, detail+": it mounts another Secret than is asked for now; restart the "+
			"workload", f.restart())
	case plan.IgnoresRenewals(egress.ProxyVersion(f.Pod)):
		return failed(ProxyIgnoresRenewals, fmt.Sprintf("%s: Istio %s ignores a renewed certificate after the second "+
			"renewal; "+
			"restart the workload, and upgrade the sidecars", detail, egress.ProxyVersion(f.Pod)), f.restart())
	}
	return failed(RotationBehind, detail+": the Secret was changed, and the kubelet writes the files within about a "+
		"minute; if it "+
		"stays so, restart the workload", f.restart())
}

// presented returns the serial number and the end of the certificate that the Pod should present.
func (f *Facts) presented() (serial, until string) {
	if f.Credential != nil && f.Credential.Credential != nil {
		c := f.Credential.Credential
		return normalSerial(c.SerialNumber), c.NotAfter.UTC().Format(time.RFC3339)
	}
	if f.EgressTarget == nil || len(f.EgressTarget.Status.Credentials) != 1 {
		return "", ""
	}
	seen := f.EgressTarget.Status.Credentials[0]
	if seen.NotAfter != nil {
		until = seen.NotAfter.UTC().Format(time.RFC3339)
	}
	return normalSerial(seen.SerialNumber), until
}

// normalSerial is a serial number in lowercase hexadecimal without leading zeros.
func normalSerial(serial string) string { return strings.TrimLeft(strings.ToLower(serial), "0") }

// lookDNS reports the addresses that the sidecar calls.
func lookDNS(f *Facts) finding {
	switch {
	case f.Sidecar == nil:
		return unknown(f.unread(SourceEnvoy))
	case f.Sidecar.Subset == nil:
		return unknown("the sidecar has no cluster")
	case len(f.Sidecar.Subset.Endpoints) == 0 && len(f.Target().Endpoints) > 0:
		missing := f.endpointsWithoutAddress()
		return failed(HostNotResolved, fmt.Sprintf("none of the endpoints of the EgressTarget has an address: DNS doesn't "+
			"know %s; check their spelling in spec.endpoints", strings.Join(missing, ", ")),
			"kubectl get egt "+f.Host+" -n "+f.Namespace+" -o yaml")
	case len(f.Sidecar.Subset.Endpoints) == 0:
		return failed(HostNotResolved, fmt.Sprintf("the name %s has no address: DNS doesn't know it; check its spelling "+
			"in the "+
			"annotation, and try it from a Pod without the annotation", f.Host),
			"kubectl run lookup --rm -i --restart=Never --image=busybox -n "+f.Namespace+" -- nslookup "+f.Host)
	}
	var addresses []string
	for _, endpoint := range f.Sidecar.Subset.Endpoints {
		addresses = append(addresses, endpoint.Address)
	}
	detail := "the sidecar calls " + strings.Join(addresses, ", ")
	if missing := f.endpointsWithoutAddress(); len(missing) > 0 {
		detail += "; these endpoints have no address: " + strings.Join(missing, ", ")
	}
	if leftOut := f.Sidecar.Subset.leftOut(); len(leftOut) > 0 {
		detail += "; these are left out for now, because connections failed: " + strings.Join(leftOut, ", ")
	}
	return fine(detail)
}

// lookHandshake reports the result of the controller's last handshake.
func lookHandshake(f *Facts) finding {
	verified := f.condition(v1alpha1.ConditionVerified)
	switch {
	case verified == nil:
		return skipped("the controller makes no handshake; spec.verify: true in the EgressTarget asks for it")
	case verified.Status == metav1.ConditionTrue:
		return fine(verified.Message)
	case verified.Status == metav1.ConditionFalse && verify.Reason(verified.Reason).Answered():
		return failed(Cause(verified.Reason), verified.Message, "kubectl describe egt "+f.Host+" -n "+f.Namespace)
	}
	// The Pods may reach what the controller doesn't.
	return unknown(verified.Reason + ": " + verified.Message)
}
