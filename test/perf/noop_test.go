package perf_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/prometheus/procfs"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/installation"
)

// startNoop starts the webhook of test/perf/noop, which ends with this process, and returns it with
// a configuration that calls it as the chart's calls ours. It gives each Pod the annotations of the
// injected one.
func startNoop(
	ctx context.Context,
	ours *installation.Installation,
	chart *admissionv1.MutatingWebhookConfiguration,
	injected *corev1.Pod,
) (_ *admissionv1.MutatingWebhookConfiguration, process procfs.Proc, _ error) {
	const annotations = "/metadata/annotations/"
	patch, err := json.Marshal([]map[string]string{
		{
			"op": "add", "path": annotations + "sidecar.istio.io~1userVolume",
			"value": injected.Annotations[annotationVolume],
		},
		{
			"op": "add", "path": annotations + "sidecar.istio.io~1userVolumeMount",
			"value": injected.Annotations[annotationMount],
		},
		{"op": "add", "path": annotations + "mtls.egress~1by", "value": noopWebhook},
	})
	if err != nil {
		return nil, process, err
	}
	program := filepath.Join(ours.Dir, "noop")
	if _, _, err := apiserver.Output(exec.CommandContext(ctx, "go", "build", "-o", program, "./noop")); err != nil {
		return nil, process, err
	}
	webhook := exec.CommandContext(ctx, program, string(patch))
	webhook.Stderr = os.Stderr
	stdout, err := webhook.StdoutPipe()
	if err != nil {
		return nil, process, err
	}
	// Held open until this process ends.
	if _, err := webhook.StdinPipe(); err != nil {
		return nil, process, err
	}
	if err := webhook.Start(); err != nil {
		return nil, process, err
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		return nil, process, err
	}
	var listens struct{ URL, CA string }
	if err := json.Unmarshal(line, &listens); err != nil {
		return nil, process, fmt.Errorf("%q: %w", line, err)
	}
	configuration := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: noopWebhook},
		Webhooks:   []admissionv1.MutatingWebhook{*chart.Webhooks[0].DeepCopy()},
	}
	configuration.Webhooks[0].ClientConfig = admissionv1.WebhookClientConfig{
		URL: &listens.URL, CABundle: []byte(listens.CA),
	}
	process, err = procfs.NewProc(webhook.Process.Pid)
	return configuration, process, err
}
