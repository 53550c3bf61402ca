package absent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"mtls.egress/webhook/internal/absent"
)

func TestObjectIsAnAPIServersAnswer(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	tests := map[string]struct {
		err  error
		want bool
	}{
		"no error":                    {},
		"the answer of an API server": {err: apierrors.NewNotFound(secrets, "a"), want: true},
		"the same, wrapped": {
			err: fmt.Errorf("reading: %w", apierrors.NewNotFound(secrets, "a")), want: true,
		},
		"a path that isn't served": {
			err: apierrors.NewGenericServerResponse(http.StatusNotFound, "GET", secrets, "a", "404 page not found", 0, true),
		},
		"an unauthenticated user":             {err: apierrors.NewUnauthorized("Unauthorized")},
		"a forbidden request":                 {err: apierrors.NewForbidden(secrets, "a", nil)},
		"an API server that takes too long":   {err: apierrors.NewTimeoutError("later", 1)},
		"an API server that is overloaded":    {err: apierrors.NewServiceUnavailable("later")},
		"a timeout":                           {err: context.DeadlineExceeded},
		"an API server that can't be reached": {err: errors.New("connection refused")},
		"a kind that isn't served":            {err: &meta.NoKindMatchError{GroupKind: schema.GroupKind{Kind: "Secret"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := absent.Object(test.err); got != test.want {
				t.Errorf("got %t", got)
			}
			if ignored := absent.Ignore(test.err); (ignored == nil) != (test.want || test.err == nil) {
				t.Errorf("ignored as %v", ignored)
			}
		})
	}
}

func TestGroupIsAnAPIServersAnswer(t *testing.T) {
	const list = `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apps"}%s]}`
	tests := map[string]struct {
		status int
		body   string
		absent bool
		want   string
	}{
		"it is served":       {status: http.StatusOK, body: fmt.Sprintf(list, `,{"name":"mtls.egress"}`)},
		"it isn't served":    {status: http.StatusOK, body: fmt.Sprintf(list, ""), absent: true},
		"no group is served": {status: http.StatusOK, body: `{"kind":"APIGroupList"}`, want: "lists no API groups"},
		"another server": {
			status: http.StatusNotFound,
			body:   "404 page not found",
			want:   "is not a Kubernetes API server, because it doesn't have that path",
		},
		"another server that accepts all paths": {
			status: http.StatusOK,
			body:   "hello",
			want:   "is not a Kubernetes API server, because its response is not an APIGroupList",
		},
		"another server that answers in JSON": {
			status: http.StatusOK,
			body:   "{}",
			want:   "is not a Kubernetes API server, because its response is not an APIGroupList",
		},
		"an unauthenticated user": {
			status: http.StatusUnauthorized,
			body: `{"kind":"Status","apiVersion":"v1","status":"Failure",` +
				`"message":"Unauthorized","reason":"Unauthorized","code":401}`,
			want: "Unauthorized",
		},
		"a forbidden request": {
			status: http.StatusForbidden,
			body: `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"forbidden: ` +
				`no","reason":"Forbidden","code":403}`,
			want: "forbidden: no",
		},
		"a bad gateway": {status: http.StatusBadGateway, body: "bad gateway", want: "an error on the server"},
		"a gateway timeout": {
			status: http.StatusGatewayTimeout, body: "timeout", want: "unable to return a response in the time allotted",
		},
		"an answer that is too big": {status: http.StatusRequestEntityTooLarge, body: "no", want: "code 413"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/apis" {
					t.Errorf("asked for %s", r.URL.Path)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			}))
			t.Cleanup(server.Close)
			client, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			none, err := absent.Group(t.Context(), client.RESTClient(), "mtls.egress")
			if none != test.absent || (err == nil) != (test.want == "") ||
				err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %t, %v; want %t, %q", none, err, test.absent, test.want)
			}
		})
	}
}
