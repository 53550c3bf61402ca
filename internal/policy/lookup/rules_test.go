package lookup_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/policy/lookup"
)

func reader(t *testing.T, err error, allowed ...string) client.Reader {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for _, value := range allowed {
		builder = builder.WithObjects(
			&corev1.Namespace{
				ObjectMeta: metav1.ObjectMeta{
					Name:        "shop",
					Annotations: map[string]string{"mtls.egress/allowed-targets": value},
				},
			},
		)
	}
	return interceptor.NewClient(
		builder.Build(),
		interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object,
				options ...client.GetOption) error {
				if err != nil {
					return err
				}
				return c.Get(ctx, key, object, options...)
			},
		},
	)
}

func TestRules(t *testing.T) {
	const host = "external.system.com"
	away := errors.New("away")
	page := apierrors.NewGenericServerResponse(http.StatusNotFound, "GET", schema.GroupResource{Resource: "namespaces"},
		"shop", "404 page not found", 0, true)
	tests := map[string]struct {
		cached, live client.Reader
		want         bool
		problem      error
	}{
		"the cache knows the Namespace": {reader(t, nil, "*"), reader(t, away), true, nil},
		"the cache doesn't know it yet": {reader(t, nil), reader(t, nil, "*"), true, nil},
		"its annotation has another host": {
			reader(t, nil, "a.example"),
			reader(t, away),
			false,
			nil,
		},
		"there is none": {reader(t, nil), reader(t, nil), false, nil},
		"the cache doesn't know it, and the API server is away": {reader(t, nil), reader(t, away), false, away},
		"something else than an API server answers":             {reader(t, nil), reader(t, page), false, page},
		"the cache fails": {reader(t, away), reader(t, nil, "*"), false, away},
		"the cache knows the Namespace, and no live": {reader(t, nil, "*"), nil, true, nil},
		"the cache fails, and no live":               {reader(t, away), nil, false, away},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rules, err := lookup.Rules(t.Context(), test.cached, test.live, policy.Cluster{Other: policy.OtherDeny},
				"shop")
			if !errors.Is(err, test.problem) ||
				test.problem != nil && !strings.Contains(err.Error(), "the namespace shop") {
				t.Fatalf("error %v, want %v", err, test.problem)
			}
			if got := rules.Decide(host).Allowed; got != test.want {
				t.Errorf("allowed %t, want %t", got, test.want)
			}
		})
	}
}

// A Namespace that isn't in the cache yet may have an annotation that allows less than the default.
func TestANamespaceThatTheCacheLacksIsNotTakenForOneWithoutAnnotation(t *testing.T) {
	_, err := lookup.Rules(t.Context(), reader(t, nil), nil, policy.Cluster{Other: policy.OtherAllow}, "shop")
	if !apierrors.IsNotFound(err) {
		t.Errorf("error %v, want that it wasn't found", err)
	}
}

func TestTheCacheKeepsOnlyWhatIsRead(t *testing.T) {
	metadata := lookup.NamespaceMetadata()
	metadata.ObjectMeta = metav1.ObjectMeta{
		Name:            "shop",
		UID:             "1",
		ResourceVersion: "2",
		Labels:          map[string]string{"a": "b", "team": "shop", "istio-injection": "enabled"},
		ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "a"}},
		Annotations:     map[string]string{"mtls.egress/allowed-targets": "*", "other": "much"},
	}
	want := lookup.NamespaceMetadata()
	want.ObjectMeta = metav1.ObjectMeta{
		Name:            "shop",
		UID:             "1",
		ResourceVersion: "2",
		Labels:          map[string]string{"team": "shop", "istio-injection": "enabled"},
		Annotations:     map[string]string{"mtls.egress/allowed-targets": "*"},
	}
	got, err := lookup.CacheOptions("team", "owner").Transform(metadata)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestServices(t *testing.T) {
	away := errors.New("away")
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "pay"}}).Build()
	tests := map[string]struct {
		cached, live client.Reader
		hosts        []string
		want         []string
		problem      error
	}{
		"a Service by its short name": {
			reader(t, nil, "*"),
			live,
			[]string{"pay.shop", "ship.shop"},
			[]string{"pay.shop"},
			nil,
		},
		"the last label is not a Namespace": {
			reader(t, nil),
			reader(t, away),
			[]string{"pay.shop"},
			nil,
			nil,
		},
		"hosts with more labels are not looked up": {
			reader(t, away),
			reader(t, away),
			[]string{"pay.shop.com"},
			nil,
			nil,
		},
		"the API server is away": {
			reader(t, nil, "*"),
			reader(t, away),
			[]string{"pay.shop"},
			nil,
			away,
		},
		"the cache fails, and nothing can be decided": {reader(t, away), live, []string{"pay.shop"}, nil, away},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := lookup.Services(t.Context(), test.cached, test.live, test.hosts)
			if !errors.Is(err, test.problem) {
				t.Fatalf("error %v, want %v", err, test.problem)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
