package render

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/target"
)

// secret is a Secret of the input.
type secret struct {
	place  Place
	object *corev1.Secret
}

// collectSecret reads a Secret as an API server would store it.
func (r *renderer) collectSecret(item item) {
	typed := &corev1.Secret{}
	if err := item.decodeInto(typed); err != nil {
		// The converter's words may repeat what it could not read, which is a key here.
		r.refuse(item.place, "can't be read as a Secret; data holds base64, stringData holds text")
		return
	}
	credential.MergeStringData(typed)
	r.secrets[nameKey(item.namespace(), typed.Name)] = secret{place: item.place, object: typed}
}

func nameKey(namespace, name string) string {
	return namespace + "/" + name
}

// presented is one credential of a target as far as the input shows it.
type presented struct {
	secretName string
	layout     target.Layout
	// credential is nil when the Secret isn't part of the input.
	credential *credential.Credential
}

// present judges the Secret that the callers present for t. A Secret that isn't part of the input is taken to have the keys
// that it should have.
func (r *renderer) present(t target.Target, secretName string) (presented, bool) {
	found, ok := r.secrets[nameKey(t.Namespace, secretName)]
	if !ok {
		return presented{secretName: secretName, layout: credential.ExpectedLayout(t)}, true
	}
	layout, judged, err := credential.JudgeSecret(t, found.object, r.options.Now)
	if err != nil {
		r.refuse(found.place, fmt.Sprintf("can't be the credential of %s: %v", t.Host, credential.ForOwner(err)))
		return presented{}, false
	}
	return presented{secretName: secretName, layout: layout, credential: judged}, true
}
