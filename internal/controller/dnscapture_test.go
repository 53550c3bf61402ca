package controller

import (
	"context"
	"errors"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"mtls.egress/webhook/internal/mesh"
)

// TestDNSCaptureHoldsWhatWasLastKnown: each step is followed by what targets are programmed with from then on.
func TestDNSCaptureHoldsWhatWasLastKnown(t *testing.T) {
	type step struct {
		// configMap is what the watch brings, nil for none, unless fails is set.
		configMap *corev1.ConfigMap
		fails     error
		// asked is false where nobody programs anything after the step.
		asked bool
		want  bool
		// readable, changed and told are whether the mesh configuration could be read, whether targets may have been programmed with
		// something else, and whether the log says anything.
		readable, changed, told bool
	}
	saying := func(text string) *corev1.ConfigMap {
		return &corev1.ConfigMap{Data: map[string]string{mesh.MeshConfigKey: text}}
	}
	on, off := saying(`defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}}`), saying("{}")
	forbidden := errors.New("forbidden")
	tests := map[string]struct {
		// programmed is what the ServiceEntries of an earlier controller say.
		programmed bool
		steps      []step
	}{
		"off, as nothing says otherwise": {steps: []step{
			{asked: true, told: true},
			{asked: true},
		}},
		"on from the beginning": {steps: []step{{configMap: on, asked: true, want: true, readable: true, told: true}}},
		"switched on and off": {steps: []step{
			{configMap: off, asked: true, readable: true, told: true},
			{configMap: on, asked: true, want: true, readable: true, changed: true, told: true},
			{configMap: on, asked: true, want: true, readable: true},
			{configMap: off, asked: true, readable: true, changed: true, told: true},
		}},
		"switched before anything is programmed": {steps: []step{
			{configMap: off, readable: true, told: true},
			{configMap: on, asked: true, want: true, readable: true, changed: true, told: true},
		}},
		"a restart in a mesh that captures DNS": {programmed: true, steps: []step{
			{fails: forbidden, asked: true, want: true, told: true},
			{configMap: on, asked: true, want: true, readable: true, told: true},
		}},
		"a restart after it was switched off": {programmed: true, steps: []step{
			{fails: forbidden, asked: true, want: true, told: true},
			{configMap: off, asked: true, readable: true, changed: true, told: true},
		}},
		"a restart, and the configuration is read before anything is programmed": {programmed: true, steps: []step{
			{configMap: off, asked: true, readable: true, told: true},
		}},
		"deleted while on": {steps: []step{
			{configMap: on, asked: true, want: true, readable: true, told: true},
			{asked: true, want: true, told: true},
			{configMap: on, asked: true, want: true, readable: true, told: true},
		}},
		"broken while on": {steps: []step{
			{configMap: on, asked: true, want: true, readable: true, told: true},
			{configMap: saying("["), asked: true, want: true, told: true},
			{configMap: saying("["), asked: true, want: true},
			{configMap: saying(`defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: "yes"}}`), asked: true, want: true, told: true},
			{configMap: &corev1.ConfigMap{Data: map[string]string{"meshNetworks": "{}"}}, asked: true, want: true, told: true},
			{fails: forbidden, asked: true, want: true, told: true},
			{fails: forbidden, asked: true, want: true},
			{configMap: off, asked: true, readable: true, changed: true, told: true},
		}},
		"broken while off": {steps: []step{
			{configMap: off, asked: true, readable: true, told: true},
			{configMap: saying("["), asked: true, told: true},
			{configMap: on, asked: true, want: true, readable: true, changed: true, told: true},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			changes := make(chan event.GenericEvent, 1)
			var lines []string
			capture := newDNSCapture(func(context.Context) (bool, error) { return test.programmed, nil })
			watch := &meshConfigWatch{capture: capture, changes: changes, log: funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})}
			for i, step := range test.steps {
				lines = nil
				take(t, watch, step.configMap, step.fails)
				changed := len(changes) > 0
				for range len(changes) {
					<-changes
				}
				_, _, readable := capture.state()
				if changed != step.changed || readable != step.readable || (len(lines) > 0) != step.told {
					t.Errorf("step %d: changed %t, readable %t, logged %q; want %+v", i, changed, readable, lines, step)
				}
				if !step.asked {
					continue
				}
				options, err := capture.options(t.Context())
				if diff := cmp.Diff(mesh.Options{DNSCapture: step.want}, options); err != nil || diff != "" {
					t.Errorf("step %d: options (error %v, -want +got):\n%s", i, err, diff)
				}
			}
		})
	}
}

// take gives the watch what a list brings, or why there is none.
func take(t *testing.T, watch *meshConfigWatch, configMap *corev1.ConfigMap, fails error) {
	t.Helper()
	var found []any
	if configMap != nil {
		found = []any{configMap}
	}
	if fails != nil {
		watch.fail(fails)
		return
	}
	if err := watch.Replace(found, "1"); err != nil {
		t.Error(err)
	}
}

func TestDNSCaptureIsAskedAgainWhenItCouldNotBeSaid(t *testing.T) {
	broken := errors.New("broken")
	answers := []error{broken, nil}
	capture := newDNSCapture(func(context.Context) (bool, error) {
		err := answers[0]
		answers = answers[1:]
		return err == nil, err
	})
	if _, err := capture.options(t.Context()); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
	// Asked a third time it would run out of answers.
	for range 2 {
		if options, err := capture.options(t.Context()); err != nil || !options.DNSCapture {
			t.Errorf("options %+v (error %v), want DNS capture", options, err)
		}
	}
}
