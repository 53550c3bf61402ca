package credential

import (
	"encoding/base64"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// SecretManifest returns the manifest of a credential Secret. Its type depends on the layout:
// kubernetes.io/tls, for which the API server validates the keys, or Opaque. An empty namespace is
// omitted.
func SecretManifest(namespace, name string, layout egress.Layout, data map[string][]byte) map[string]any {
	kind := "Opaque"
	if layout.Certificate == TLSLayout().Certificate && layout.PrivateKey == TLSLayout().PrivateKey {
		kind = "kubernetes.io/tls"
	}
	encoded := make(map[string]any, len(data))
	for key, value := range data {
		encoded[key] = base64.StdEncoding.EncodeToString(value)
	}
	return map[string]any{
		"apiVersion": "v1",
		"kind":       "Secret",
		"metadata":   metadata(namespace, name),
		"type":       kind,
		"data":       encoded,
	}
}

// MergeStringData merges the stringData of a Secret into its data, over existing keys, as the API
// server does when it stores the Secret.
// https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/
func MergeStringData(secret *corev1.Secret) {
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	for key, value := range secret.StringData {
		secret.Data[key] = []byte(value)
	}
}

// EgressTargetManifest returns the manifest of the EgressTarget of t, with only the fields that
// differ from the defaults of its host.
func EgressTargetManifest(t egress.Target) map[string]any {
	spec := map[string]any{}
	if t.Port != egress.DefaultPort {
		spec["port"] = int64(t.Port)
	}
	if t.SecretName != egress.DefaultSecretName(t.Host) {
		spec["credential"] = map[string]any{"secretName": t.SecretName}
	}
	if t.ServerCA.System {
		spec["serverCA"] = map[string]any{"system": true}
	}
	return map[string]any{
		"apiVersion": v1alpha1.GroupVersion().String(),
		"kind":       v1alpha1.Kind,
		"metadata":   metadata(t.Namespace, t.Host),
		"spec":       spec,
	}
}

func metadata(namespace, name string) map[string]any {
	fields := map[string]any{"name": name}
	if namespace != "" {
		fields["namespace"] = namespace
	}
	return fields
}
