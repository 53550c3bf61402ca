package mesh

import (
	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

const (
	// SubsetName names the subset that speaks mutual TLS.
	SubsetName = "mtls-egress"
	// systemCA makes the sidecar trust the CAs of its image. Istio sends the same when caCertificates
	// is left out, but only since 1.20 and without an older compatibilityVersion; before, leaving it
	// out switched every check of the server off.
	// https://istio.io/latest/news/releases/1.20.x/announcing-1.20/upgrade-notes/
	systemCA = "system"
)

// DestinationRule returns the object that makes calls to the subset mutual TLS, with the
// certificate that layout finds in the mount of the target's Pods, the server name t.SNI, and
// t.SubjectAltNames compared with the server's certificate.
//
// The TLS settings stand on a subset and not on the partner's port, since the app's own https calls
// use that port and would be wrapped twice. They stand on the subset itself and not on a port of
// it, since Istio would build the subset's other ports without TLS.
func DestinationRule(t egress.Target, layout egress.Layout) *networkingv1.DestinationRule {
	destinationRule := &networkingv1.DestinationRule{
		TypeMeta:   typeMeta(KindDestinationRule),
		ObjectMeta: objectMeta(t.Namespace, egress.ObjectName(t.Host)),
	}
	destinationRule.Spec.Host = egress.MeshHost(t.Host)
	destinationRule.Spec.ExportTo = ownNamespace()
	destinationRule.Spec.WorkloadSelector = &typev1beta1.WorkloadSelector{MatchLabels: podLabels(t)}
	destinationRule.Spec.Subsets = []*networking.Subset{{
		Name: SubsetName,
		TrafficPolicy: &networking.TrafficPolicy{
			ConnectionPool: connectionPool(t),
			Tls:            mutualTLS(t, layout),
		},
	}}
	return destinationRule
}

// mutualTLS never leaves a field out: without the certificate or the key Istio ships the cluster
// without TLS, and without the subject alternative names it doesn't check the server's name. Where
// the target doesn't say, the host and the first known layout stand in; a file that isn't there
// makes calls fail.
func mutualTLS(t egress.Target, layout egress.Layout) *networking.ClientTLSSettings {
	names := t.SubjectAltNames
	if len(names) == 0 {
		names = []string{t.Host}
	}
	return &networking.ClientTLSSettings{
		Mode:              networking.ClientTLSSettings_MUTUAL,
		ClientCertificate: mounted(t, or(layout.Certificate, "cert")),
		PrivateKey:        mounted(t, or(layout.PrivateKey, "key")),
		CaCertificates:    caCertificates(t, layout),
		Sni:               or(t.SNI, t.Host),
		SubjectAltNames:   append([]string(nil), names...),
	}
}

func caCertificates(t egress.Target, layout egress.Layout) string {
	switch ca := t.ServerCA; {
	case ca.System:
		return systemCA
	case ca.ConfigMap.Name != "":
		return egress.CAMountPath(t.Host) + "/" + ca.ConfigMap.Key
	default:
		return mounted(t, or(ca.SecretKey, or(layout.ServerCA, "cacert")))
	}
}

func mounted(t egress.Target, key string) string {
	return egress.MountPath(t.Host) + "/" + key
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// connectionPool bounds the age of connections, as an open one presents the old certificate for as
// long as it lives.
func connectionPool(t egress.Target) *networking.ConnectionPoolSettings {
	pool := &networking.ConnectionPoolSettings{
		Tcp: &networking.ConnectionPoolSettings_TCPSettings{MaxConnectionDuration: duration(t.MaxConnectionAge)},
	}
	switch t.HTTPVersion {
	case v1alpha1.HTTPVersion1:
		pool.Http = upgradePolicy(networking.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE)
	case v1alpha1.HTTPVersion2:
		pool.Http = upgradePolicy(networking.ConnectionPoolSettings_HTTPSettings_UPGRADE)
	case v1alpha1.HTTPVersionAuto:
	}
	return pool
}

// upgradePolicy decides the HTTP version on the subset and not by the protocol of the
// ServiceEntry's port: there HTTP2 would make the sidecar read the app's own https calls as plain
// HTTP.
func upgradePolicy(policy networking.ConnectionPoolSettings_HTTPSettings_H2UpgradePolicy) *networking.ConnectionPoolSettings_HTTPSettings {
	return &networking.ConnectionPoolSettings_HTTPSettings{H2UpgradePolicy: policy}
}
