package live

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
	"mtls.egress/webhook/internal/explain"
)

const (
	// adminPort is the port of Envoy's admin interface, at the Pod's loopback address.
	adminPort = 15000
	// maxAnswer limits what is read of one path of it.
	maxAnswer = 256 << 20
	// logLines is the number of lines of the sidecar's log that are read.
	logLines = 1000
)

// errSilent means that the port was forwarded, and Envoy doesn't answer.
var errSilent = errors.New("the admin interface of Envoy doesn't answer")

// readSidecar asks the sidecar for what it has: through port-forward or, if that is not possible,
// by running pilot-agent in it.
func (r *Reader) readSidecar(ctx context.Context, t egress.Target, f *explain.Facts) {
	core, err := corev1client.NewForConfig(r.Config)
	if err != nil {
		r.miss(explain.SourceEnvoy, err)
		return
	}
	paths := explain.AdminPaths(t)
	answers, forwardErr := r.byForward(ctx, core.RESTClient(), f.Pod, paths)
	if errors.Is(forwardErr, errSilent) {
		r.miss(explain.SourceEnvoy, forwardErr)
		return
	}
	if forwardErr != nil {
		var execErr error
		if answers, execErr = r.byExec(ctx, core.RESTClient(), f.Pod, paths); execErr != nil {
			r.miss(explain.SourceEnvoy, fmt.Errorf("%w: %w; %w", errNoAdmin,
				r.forbidden(forwardErr, "create", "pods/portforward"), r.forbidden(execErr, "create", "pods/exec")))
			return
		}
	}
	for path, answer := range answers {
		r.collectBytes("envoy/"+fileName(path), answer)
	}
	sidecar, err := explain.ReadSidecar(t, answers)
	if err != nil {
		r.miss(explain.SourceEnvoy, err)
		return
	}
	f.Sidecar = sidecar
}

// fileName is the name of a path's file in a bundle.
func fileName(path string) string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune("/?&=%|^().*\\", c) {
			return '_'
		}
		return c
	}, strings.TrimPrefix(path, "/")) + ".json"
}

// byForward forwards a local port to the Pod, and asks through that.
func (r *Reader) byForward(
	ctx context.Context, api rest.Interface, pod *corev1.Pod, paths []string,
) (map[string][]byte, error) {
	url := api.Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(r.Config)
	if err != nil {
		return nil, err
	}
	overWebsocket, err := portforward.NewSPDYOverWebsocketDialer(url, r.Config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialer(overWebsocket,
		spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url), needsFallback)
	stop, ready := make(chan struct{}), make(chan struct{})
	defer close(stop)
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:" + strconv.Itoa(adminPort)},
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
	answers := map[string][]byte{}
	for _, path := range paths {
		if answers[path], err = get(ctx, base+path); err != nil {
			return nil, fmt.Errorf("%w: %w", errSilent, err)
		}
	}
	return answers, nil
}

func needsFallback(err error) bool {
	return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
}

// get returns the answer to a request, or nothing if Envoy has no such part in its configuration.
func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
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

// byExec runs pilot-agent in the sidecar.
func (r *Reader) byExec(
	ctx context.Context, api rest.Interface, pod *corev1.Pod, paths []string,
) (map[string][]byte, error) {
	answers := map[string][]byte{}
	for _, path := range paths {
		request := api.Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
			VersionedParams(&corev1.PodExecOptions{
				Container: egress.ProxyContainer, Stdout: true, Stderr: true,
				Command: []string{"pilot-agent", "request", "GET", strings.TrimPrefix(path, "/")},
			}, scheme.ParameterCodec)
		websocket, err := remotecommand.NewWebSocketExecutor(r.Config, http.MethodGet, request.URL().String())
		if err != nil {
			return nil, err
		}
		overSPDY, err := remotecommand.NewSPDYExecutor(r.Config, http.MethodPost, request.URL())
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

// readLog reads the last calls in the sidecar's access log.
func (r *Reader) readLog(ctx context.Context, t egress.Target, f *explain.Facts) {
	core, err := corev1client.NewForConfig(r.Config)
	if err != nil {
		r.miss(explain.SourceLog, err)
		return
	}
	log, err := core.Pods(f.Pod.Namespace).GetLogs(f.Pod.Name, &corev1.PodLogOptions{
		Container: egress.ProxyContainer, TailLines: new(int64(logLines)),
	}).DoRaw(ctx)
	if err != nil {
		r.miss(explain.SourceLog, r.forbidden(err, "get", "pods/log"))
		return
	}
	f.Calls = explain.ReadAccessLog(t, log)
	r.collect("calls-"+f.Host+".json", f.Calls)
}
