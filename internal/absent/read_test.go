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

// answers is a reader that gets one answer.
type answers struct {
	client.Reader

	err error
}

func (a answers) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return a.err
}

// What isn't the API server's own word must not be taken for a Secret that is gone: calls would be
// stopped for it.
func TestNoOtherAnswerIsTakenForAnObjectThatIsGone(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	tests := map[string]struct {
		err   error
		there bool
		fails bool
	}{
		"the object":                      {there: true},
		"that there is none":              {err: apierrors.NewNotFound(secrets, "a")},
		"the 404 of a proxy":              {err: apierrors.NewGenericServerResponse(http.StatusNotFound, "get", secrets, "a", "no such page", 0, true), fails: true},
		"that it is forbidden":            {err: apierrors.NewForbidden(secrets, "a", nil), fails: true},
		"that the token has ended":        {err: apierrors.NewUnauthorized("Unauthorized"), fails: true},
		"none in time":                    {err: context.DeadlineExceeded, fails: true},
		"that the API server is too busy": {err: apierrors.NewTooManyRequests("later", 1), fails: true},
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
