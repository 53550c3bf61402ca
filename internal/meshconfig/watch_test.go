package meshconfig

import (
	"errors"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"mtls.egress/webhook/internal/mesh"
)

func TestWhatWasLastReadHolds(t *testing.T) {
	const (
		dynamic = "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}"
		static  = "outboundTrafficPolicy: {mode: ALLOW_ANY}"
	)
	configMap := func(text string) *corev1.ConfigMap { return &corev1.ConfigMap{Data: map[string]string{"mesh": text}} }
	type state struct {
		dynamic bool
		problem string
	}
	steps := []struct {
		name string
		do   func(*Watch[mesh.Config]) error
		want state
	}{
		{
			"before it was read",
			func(*Watch[mesh.Config]) error { return nil },
			state{false, "the configuration has not been read yet"},
		},
		{
			"a list without it",
			func(w *Watch[mesh.Config]) error { return w.Replace(nil, "") },
			state{false, "the ConfigMap does not exist"},
		},
		{"a list with it", func(w *Watch[mesh.Config]) error {
			return w.Replace([]any{configMap(dynamic)}, "")
		}, state{true, ""}},
		{
			"without the key",
			func(w *Watch[mesh.Config]) error { return w.Update(&corev1.ConfigMap{}) },
			state{true, "the ConfigMap has no key mesh"},
		},
		{"with another mode", func(w *Watch[mesh.Config]) error { return w.Update(configMap(static)) }, state{false, ""}},
		{"with the mode again", func(w *Watch[mesh.Config]) error { return w.Add(configMap(dynamic)) }, state{true, ""}},
		{
			"deleted",
			func(w *Watch[mesh.Config]) error { return w.Delete(configMap(dynamic)) },
			state{true, "the ConfigMap does not exist"},
		},
		{
			"a failed watch",
			func(w *Watch[mesh.Config]) error { w.fail(errors.New("forbidden")); return nil },
			state{true, "forbidden"},
		},
	}
	watch, err := New(&rest.Config{}, struct{ Namespace, Name string }{"istio-system", "istio"}, Mesh(), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		if err := step.do(watch); err != nil {
			t.Fatal(err)
		}
		got := state{dynamic: watch.Config().DynamicDNS}
		if err := watch.Problem(); err != nil {
			got.problem = err.Error()
		}
		if got != step.want {
			t.Errorf("%s: %+v, want %+v", step.name, got, step.want)
		}
	}
}
