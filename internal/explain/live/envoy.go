package live

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/envoyadmin"
	"mtls.egress/webhook/internal/explain"
)

// logLines is the number of lines of the sidecar's log that are read.
const logLines = 1000

// readSidecar asks the sidecar for what it has: through port-forward or, if that is not possible,
// by running pilot-agent in it.
func (r *Reader) readSidecar(ctx context.Context, t egress.Target, f *explain.Facts) {
	paths := explain.AdminPaths(t)
	answers, forwardErr := envoyadmin.Forward(ctx, r.Config, f.Pod, paths...)
	if errors.Is(forwardErr, envoyadmin.ErrSilent) {
		r.miss(explain.SourceEnvoy, forwardErr)
		return
	}
	if forwardErr != nil {
		var execErr error
		if answers, execErr = envoyadmin.Exec(ctx, r.Config, f.Pod, paths...); execErr != nil {
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
