package installation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
)

// stopLimit is how long a process may take to end: more than the 30 seconds of the longest shutdown
// delay and the 20 seconds that work under way has after it.
const stopLimit = time.Minute

// Process is a webhook or a controller that runs beside the API server, in place of a Pod of the
// chart's Deployment.
type Process struct {
	// Name identifies the process, such as webhook-0 or controller-1.
	Name string
	// Log is the file with the output of all its starts.
	Log string

	server                        *apiserver.Server
	command                       string
	deployment                    string // the Deployment whose container has the arguments
	kubeconfig                    string
	healthAddress, metricsAddress string

	// flags returns what the process needs in addition to the arguments of the chart.
	flags func(chart []string) []string
	// follow is called with each new life of the process. It is nil if no kubelet probes it.
	follow func(context.Context, *pod, *corev1.Probe)

	pod atomic.Pointer[pod]
}

// pod is one life of a process.
type pod struct {
	owner   *Process
	process *apiserver.Process
	// ready is what the kubelet says of it.
	ready atomic.Bool
	// killed is whether it was ended without a warning.
	killed atomic.Bool
	// deleted is closed by delete: from then on the Pod isn't ready.
	deleted chan struct{}
	delete  func()
}

// HealthAddress is host and port of /healthz and /readyz, from the first start on.
func (p *Process) HealthAddress() string { return p.healthAddress }

// MetricsAddress is host and port of /metrics, from the first start on.
func (p *Process) MetricsAddress() string { return p.metricsAddress }

// giveAddresses gives health and metrics of each process an address, unless it has them. It does so
// right before the first start: until a process listens, anybody may take its ports.
func giveAddresses(processes []*Process) error {
	addresses, err := apiserver.FreeAddresses(2 * len(processes))
	if err != nil {
		return err
	}
	for n, process := range processes {
		if process.healthAddress == "" {
			process.healthAddress, process.metricsAddress = addresses[2*n], addresses[2*n+1]
		}
	}
	return nil
}

// start does nothing when the process runs already.
func (p *Process) start(ctx context.Context, container *corev1.Container) error {
	if p.Running() {
		return nil
	}
	if container == nil {
		return fmt.Errorf("the chart renders no Deployment %s", p.deployment)
	}
	cmd := exec.Command(p.command, slices.Concat(container.Args, p.flags(container.Args), []string{
		"--kubeconfig=" + p.kubeconfig, "--health-address=" + p.healthAddress, "--metrics-address=" + p.metricsAddress,
	})...)
	memory := strconv.FormatInt(container.Resources.Limits.Memory().Value(), 10)
	cmd.Env = append(os.Environ(), "GOMEMLIMIT="+memory)
	process, err := apiserver.StartProcess(cmd, p.Log, p.server.StartGuarded)
	if err != nil {
		return err
	}
	started := &pod{owner: p, process: process, deleted: make(chan struct{})}
	started.delete = sync.OnceFunc(func() { close(started.deleted) })
	if before := p.pod.Swap(started); before != nil { // one that was killed, or ended by itself
		before.delete()
		if err := before.process.Kill(); err != nil { // frees what it still holds
			return err
		}
	}
	if p.follow != nil {
		p.follow(context.WithoutCancel(ctx), started, container.ReadinessProbe)
	}
	return nil
}

// Running reports whether the process runs.
func (p *Process) Running() bool {
	pod := p.pod.Load()
	return pod != nil && pod.process.Running()
}

// PID is the process ID of a process that was started.
func (p *Process) PID() int { return p.pod.Load().process.PID() }

// Stop does what deleting a Pod does: the Service is told, and at the same time the process gets
// SIGTERM. It waits for the end. A process that doesn't end in time is killed, which is an error,
// as is a bad exit. One that isn't started, or was killed, is fine.
func (p *Process) Stop() error {
	pod := p.pod.Load()
	if pod == nil {
		return nil
	}
	pod.delete()
	if pod.killed.Load() {
		return nil
	}
	err := pod.process.Stop(stopLimit)
	p.pod.CompareAndSwap(pod, nil)
	return err
}

// Kill ends the process with SIGKILL. Nobody is told: the kubelet finds out.
func (p *Process) Kill() error {
	pod := p.pod.Load()
	pod.killed.Store(true)
	return pod.process.Kill()
}

// noticed waits until the kubelet has seen that the process was killed.
func (p *Process) noticed(ctx context.Context) error {
	pod := p.pod.Load()
	if pod == nil || !pod.killed.Load() {
		return nil
	}
	return await.Until(ctx, await.Patience, "the kubelet notices that "+p.Name+" was killed", func(context.Context) error {
		if pod.ready.Load() {
			return errors.New("its Pod is still ready")
		}
		return nil
	})
}

// awaitReady waits until /readyz answers with OK, and the kubelet has seen that.
func (p *Process) awaitReady(ctx context.Context) error {
	return await.Until(ctx, await.Patience, p.Name+" gets ready", func(ctx context.Context) error {
		if err := p.alive(); err != nil {
			return err
		}
		if err := p.ready(ctx); err != nil {
			return err
		}
		if p.follow != nil && !p.pod.Load().ready.Load() {
			return errors.New("the kubelet has not seen it ready")
		}
		return nil
	})
}

// alive returns a final error with the end of the log if the process has ended.
func (p *Process) alive() error {
	if p.Running() {
		return nil
	}
	words := ""
	if pod := p.pod.Load(); pod != nil {
		words = pod.process.LastWords()
	}
	return await.Final(fmt.Errorf("%s ended; its log ends with:\n%s", p.Name, words))
}

func (p *Process) ready(ctx context.Context) error {
	_, err := get(ctx, "http://"+p.healthAddress+"/readyz")
	return err
}

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
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", url, response.Status, body)
	}
	return body, err
}
