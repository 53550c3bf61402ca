package mesh

import (
	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

const (
	// SubsetName is the name of the subset with mutual TLS.
	SubsetName = "mtls-egress"
	// systemCA makes the sidecar trust the CAs of its image. Since 1.20, that is also Istio's default
	// for an empty caCertificates, unless an older compatibilityVersion is set. Before, an empty
	// caCertificates disabled every check of the server.
	// https://istio.io/latest/news/releases/1.20.x/announcing-1.20/upgrade-notes/
	systemCA = "system"
)

// DestinationRule returns the object that makes calls to the subset use mutual TLS. It uses the
// certificate at layout in the mount of the target's Pods and the server name t.SNI, and verifies
// the server's certificate against t.SubjectAltNames.
//
// The TLS settings are on a subset and not on the partner's port, because the app's own https calls
// use that port and would be encrypted twice. They are on the subset itself and not on one of its
// ports, because Istio would build the subset's other ports without TLS.
func DestinationRule(t egress.Target, layout egress.Layout) *networkingv1.DestinationRule {
	destinationRule := &networkingv1.DestinationRule{
		TypeMeta:   typeMeta(KindDestinationRule),
		ObjectMeta: objectMeta(t.Namespace, egress.ObjectName(t.Host)),
	}
	destinationRule.Spec.Host = egress.MeshHost(t.Host)
	destinationRule.Spec.ExportTo = ownNamespace()
	destinationRule.Spec.WorkloadSelector = &typev1beta1.WorkloadSelector{MatchLabels: podLabels(t)}
	destinationRule.Spec.TrafficPolicy = ownCallsPolicy(t)
	destinationRule.Spec.Subsets = []*networking.Subset{{
		Name: SubsetName,
		TrafficPolicy: withFailover(t, &networking.TrafficPolicy{
			ConnectionPool: connectionPool(t),
			Tls:            mutualTLS(t, layout),
		}),
	}}
	return destinationRule
}

// mutualTLS always sets every field. Without the certificate or the key, Istio sends the cluster
// without TLS. Without the subject alternative names, it doesn't check the server's name. The
// defaults are the host and the first known layout. If a file doesn't exist, calls fail.
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

// connectionPool limits the age of connections, because an open connection keeps the old
// certificate.
func connectionPool(t egress.Target) *networking.ConnectionPoolSettings {
	return &networking.ConnectionPoolSettings{
		Tcp:  &networking.ConnectionPoolSettings_TCPSettings{MaxConnectionDuration: duration(t.MaxConnectionAge)},
		Http: httpVersion(t.HTTPVersion),
	}
}

// httpVersion returns the settings for the HTTP version of the call to the partner. They are on the
// subset and not the protocol of the ServiceEntry's port. There, HTTP2 would make the sidecar parse
// the app's own https calls as plain HTTP.
//
// By default, the sidecar uses the version of the app's call. HTTP/1.1 for all calls would lose the
// trailers of gRPC, and HTTP/2 for all would break WebSockets. Istio rejects useClientProtocol
// together with the upgrade policy UPGRADE, and prefers it to the mesh's upgrade policy. See
// shouldH2Upgrade:
// https://github.com/istio/istio/blob/1.30.3/pilot/pkg/networking/core/cluster_traffic_policy.go
func httpVersion(version v1alpha1.HTTPVersion) *networking.ConnectionPoolSettings_HTTPSettings {
	switch version {
	case v1alpha1.HTTPVersion1:
		return &networking.ConnectionPoolSettings_HTTPSettings{
			H2UpgradePolicy: networking.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE,
		}
	case v1alpha1.HTTPVersion2:
		return &networking.ConnectionPoolSettings_HTTPSettings{
			H2UpgradePolicy: networking.ConnectionPoolSettings_HTTPSettings_UPGRADE,
		}
	case v1alpha1.HTTPVersionAuto:
	}
	return &networking.ConnectionPoolSettings_HTTPSettings{UseClientProtocol: true}
}
