// Package envoyadmin asks the admin interface of the Envoy in a Pod, with the permissions of the
// user. Only the Pod itself can reach the interface.
// https://www.envoyproxy.io/docs/envoy/latest/operations/admin
package envoyadmin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"

	"mtls.egress/webhook/internal/egress"
)

const (
	// port is that of the admin interface in an Istio sidecar.
	port = 15000
	// maxAnswer limits what is read of one path.
	maxAnswer = 256 << 20
)

// ErrSilent means that the port was forwarded, and Envoy doesn't answer.
var ErrSilent = errors.New("the admin interface of Envoy doesn't answer")

// Answers are the answers by their paths, nil for a path that Envoy doesn't have.
type Answers map[string][]byte

// Forward forwards a local port to the Pod, and asks through that. It needs the right to create
// pods/portforward. The error is [ErrSilent] if the port was forwarded.
func Forward(ctx context.Context, config *rest.Config, pod *corev1.Pod, paths ...string) (Answers, error) {
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	url := core.RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).
		SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	overWebsocket, err := portforward.NewSPDYOverWebsocketDialer(url, config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialer(overWebsocket,
		spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url), needsFallback)
	stop, ready := make(chan struct{}), make(chan struct{})
	defer close(stop)
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:" + strconv.Itoa(port)},
		stop, ready, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return nil, err
	}
	base := fmt.Sprintf("http://127.0.0.1:%d", ports[0].Local)
	answers := Answers{}
	for _, path := range paths {
		if answers[path], err = get(ctx, base+path); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSilent, err)
		}
	}
	return answers, nil
}

func needsFallback(err error) bool {
	return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
}

// get returns the answer to a request, or nothing if Envoy has no such part in its configuration.
// Each request has a connection of its own, because the forwarded port ends with it.
func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, err
	}
	return content, nil
}

// Exec runs pilot-agent in the sidecar. It needs the right to create pods/exec. Only answers in
// JSON count, because pilot-agent also prints the error page of a path that Envoy doesn't have.
func Exec(ctx context.Context, config *rest.Config, pod *corev1.Pod, paths ...string) (Answers, error) {
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	answers := Answers{}
	for _, path := range paths {
		request := core.RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
			VersionedParams(&corev1.PodExecOptions{
				Container: egress.ProxyContainer, Stdout: true, Stderr: true,
				Command: []string{"pilot-agent", "request", "GET", strings.TrimPrefix(path, "/")},
			}, scheme.ParameterCodec)
		websocket, err := remotecommand.NewWebSocketExecutor(config, http.MethodGet, request.URL().String())
		if err != nil {
			return nil, err
		}
		overSPDY, err := remotecommand.NewSPDYExecutor(config, http.MethodPost, request.URL())
		if err != nil {
			return nil, err
		}
		executor, err := remotecommand.NewFallbackExecutor(websocket, overSPDY, needsFallback)
		if err != nil {
			return nil, err
		}
		var stdout, stderr bytes.Buffer
		err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
		if err != nil && stdout.Len() == 0 && !strings.Contains(stderr.String(), "404") {
			return nil, errors.Join(err, errors.New(strings.TrimSpace(stderr.String())))
		}
		if bytes.HasPrefix(bytes.TrimSpace(stdout.Bytes()), []byte("{")) {
			answers[path] = stdout.Bytes()
		}
	}
	return answers, nil
}
