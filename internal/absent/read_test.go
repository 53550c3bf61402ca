package absent_test

import (
	"context"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/absent"
)

// answers is a reader with one answer.
type answers struct {
	client.Reader

	err error
}

func (a answers) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return a.err
}

// Only an answer of the API server itself may count as a deleted Secret, because calls stop without
// the Secret.
func TestNoOtherAnswerIsTakenForAnObjectThatIsGone(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	tests := map[string]struct {
		err   error
		there bool
		fails bool
	}{
		"the object": {there: true},
		"not found":  {err: apierrors.NewNotFound(secrets, "a")},
		"the 404 of a proxy": {
			err:   apierrors.NewGenericServerResponse(http.StatusNotFound, "get", secrets, "a", "no such page", 0, true),
			fails: true,
		},
		"forbidden":         {err: apierrors.NewForbidden(secrets, "a", nil), fails: true},
		"an expired token":  {err: apierrors.NewUnauthorized("Unauthorized"), fails: true},
		"no answer in time": {err: context.DeadlineExceeded, fails: true},
		"too many requests": {err: apierrors.NewTooManyRequests("later", 1), fails: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			there, err := absent.Read(t.Context(), answers{err: test.err}, "Secret", "project", "a", &corev1.Secret{})
			if there != test.there || (err != nil) != test.fails {
				t.Errorf("there is %t, %v", there, err)
			}
		})
	}
}
