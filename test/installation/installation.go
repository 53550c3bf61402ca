// Package installation brings up what the suites, the demo and the benchmarks share: a real API
// server with Istio's CRDs, the chart installed by Helm, and webhooks and controllers as processes
// beside it. Each kind has the arguments of its Deployment in the chart, and the rights of its own
// service account and no others. All traffic stays on the loopback interface.
package installation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
)

// What the release is called, and where it is installed.
const (
	Release   = "mtls-egress-webhook"
	Namespace = "mtls-egress"
)

// ControllerName is the name of the controller's Deployment, service account and Lease. Those of
// the webhook have the name of the release.
const ControllerName = Release + "-controller"

// Who the processes are to the API server.
const (
	// User is the controller, which writes generated objects and statuses.
	User = accounts + ControllerName
	// WebhookUser is the webhook.
	WebhookUser = accounts + Release

	accounts = "system:serviceaccount:" + Namespace + ":"
)

// WebhookConfiguration is the name of the release's MutatingWebhookConfiguration.
const WebhookConfiguration = "0-" + Release

// Options of Start. The zero value is fine.
type Options struct {
	// Values are values of the chart, each as Helm's --set takes it. They win over those that put both
	// processes outside of the cluster, let the webhook stop without delay, and have unused
	// EgressTargets removed after two seconds.
	Values []string
	// Replicas is how many webhooks run. Default: 1, which the API server calls directly; more run
	// behind a Service.
	Replicas int
	// Controllers is how many controllers run, one of which is the leader. Default: 1.
	Controllers int
	// BeforeInstall is called when the API server runs with Istio's CRDs, and the chart is not yet
	// installed. Default: nothing.
	BeforeInstall func(context.Context, *Installation) error
	// APIServer are the options of the API server.
	APIServer apiserver.Options
	// Say is told each step before it is taken, as a sentence without a full stop. Default: nobody is
	// told.
	Say func(step string)
}

// Installation is a running API server with the chart, its webhooks and its controllers.
type Installation struct {
	*apiserver.Server
	// Admin is a client of an administrator.
	Admin kubernetes.Interface
	// Command is the built binary, which also has the offline subcommands.
	Command string
	// Root is the project's directory.
	Root string
	// Replicas are the webhooks, running or not.
	Replicas []*Replica
	// Controllers are the controllers, running or not.
	Controllers []*Process

	values  []string
	service *service
	stop    func() error
}

// Start builds the program, starts everything, and returns when all processes are ready and an
// annotated Pod is injected. The caller calls Stop. When Start returns an error, nothing is left
// running.
func Start(ctx context.Context, options Options) (*Installation, error) {
	if options.Say == nil {
		options.Say = func(string) {}
	}
	options.Say("starting etcd and kube-apiserver")
	server, err := apiserver.Start(ctx, options.APIServer)
	if err != nil {
		return nil, err
	}
	i := &Installation{Server: server}
	i.stop = sync.OnceValue(i.shutDown)
	if err := i.start(ctx, options); err != nil {
		return nil, errors.Join(err, i.Stop())
	}
	return i, nil
}

func (i *Installation) start(ctx context.Context, options Options) (err error) {
	if i.Admin, err = kubernetes.NewForConfig(i.Config); err != nil {
		return err
	}
	if i.Root, err = apiserver.Root(ctx); err != nil {
		return err
	}
	options.Say("building the program")
	if err := i.build(ctx); err != nil {
		return err
	}
	options.Say("installing Istio's CRDs")
	if err := i.installIstio(ctx); err != nil {
		return err
	}
	if err := i.prepareProcesses(max(1, options.Replicas), max(1, options.Controllers)); err != nil {
		return err
	}
	if options.BeforeInstall != nil {
		if err := options.BeforeInstall(ctx, i); err != nil {
			return err
		}
	}
	options.Say("installing the chart with Helm")
	if err := i.install(ctx, options.Values); err != nil {
		return err
	}
	options.Say("starting webhook and controller beside the API server")
	if err := i.startAll(ctx, i.Processes()); err != nil {
		return err
	}
	return i.awaitAdmission(ctx)
}

// Stop stops the processes and the API server and removes their files. Another call returns what
// the first one did.
func (i *Installation) Stop() error { return i.stop() }

func (i *Installation) shutDown() error {
	err := errors.Join(i.StopControllers(), i.StopWebhook())
	if i.service != nil {
		err = errors.Join(err, i.service.close())
	}
	return errors.Join(err, i.Server.Stop())
}

func (i *Installation) build(ctx context.Context) error {
	i.Command = filepath.Join(i.Dir, Release)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", i.Command,
		"mtls.egress/webhook/cmd/webhook") // as make build does
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	// Interrupted it ends its compilers and removes its files; killed it would leave both.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("building the program: %w\n%s", err, output)
	}
	return nil
}

func (i *Installation) installIstio(ctx context.Context) error {
	crds, err := apiserver.IstioCRDs(ctx)
	if err != nil {
		return err
	}
	return i.InstallCRDs(ctx, crds)
}

// InstallCRDs installs the CustomResourceDefinitions in files and folders, and returns when the API
// server serves them.
func (i *Installation) InstallCRDs(ctx context.Context, paths ...string) error {
	for _, args := range [][]string{
		{"apply", "--server-side"}, {"wait", "--for=condition=Established", "--timeout=" + await.Patience.String()},
	} {
		for _, path := range paths {
			args = append(args, "--filename", path)
		}
		if _, _, err := i.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// StartWebhook starts the webhooks that don't run and returns when annotated Pods are injected.
func (i *Installation) StartWebhook(ctx context.Context) error {
	if err := i.startAll(ctx, i.webhooks()); err != nil {
		return err
	}
	return i.awaitAdmission(ctx)
}

// StartControllers starts the controllers that don't run and returns when they are ready. None of
// them may be the leader yet: see Leader.
func (i *Installation) StartControllers(ctx context.Context) error {
	return i.startAll(ctx, i.Controllers)
}

// startAll starts the processes that don't run and returns when all are ready.
func (i *Installation) startAll(ctx context.Context, processes []*Process) error {
	containers, err := i.containers(ctx)
	if err != nil {
		return err
	}
	if err := giveAddresses(processes); err != nil {
		return err
	}
	for _, process := range processes {
		if err := process.start(ctx, containers[process.deployment]); err != nil {
			return err
		}
	}
	for _, process := range processes {
		if err := process.awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// StartProcess starts one process, unless it runs, and returns when its Pod is ready. The Service
// may learn of that a moment later. A process that was killed is started when the kubelet has
// noticed that.
func (i *Installation) StartProcess(ctx context.Context, process *Process) error {
	if err := process.noticed(ctx); err != nil {
		return err
	}
	return i.startAll(ctx, []*Process{process})
}

// TimeStart starts a process that doesn't run, and returns how long it takes until /readyz reports
// that it is ready, whenever a kubelet would ask.
func (i *Installation) TimeStart(ctx context.Context, process *Process) (time.Duration, error) {
	containers, err := i.containers(ctx)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := process.start(ctx, containers[process.deployment]); err != nil {
		return 0, err
	}
	err = await.Until(ctx, await.Patience, process.Name+" gets ready", process.ready)
	return time.Since(begun), err
}

// InService reports whether the Service hands connections to a webhook, be it there or not.
func (i *Installation) InService(replica *Replica) bool {
	return i.service != nil && i.service.has(replica.Process)
}

// Connections are those that the Service took so far, and those of them that it handed to a webhook
// that was gone, or to none.
func (i *Installation) Connections() (taken, lost int64) {
	if i.service == nil {
		return 0, 0
	}
	return i.service.accepted.Load(), i.service.reset.Load()
}

// StopWebhook sends SIGTERM to the webhooks that run and waits for their ends. Stopped ones are
// fine.
func (i *Installation) StopWebhook() error { return stopAll(i.webhooks()) }

// StopControllers sends SIGTERM to the controllers that run and waits for their ends. Stopped ones
// are fine.
func (i *Installation) StopControllers() error { return stopAll(i.Controllers) }

func stopAll(processes []*Process) error {
	var problems []error
	for _, process := range processes {
		problems = append(problems, process.Stop())
	}
	return errors.Join(problems...)
}

// KubectlWith runs kubectl with an input and returns what it prints. The error carries standard
// error.
func (i *Installation) KubectlWith(ctx context.Context, input string, args ...string) (stdout string, err error) {
	cmd := i.Server.Command(ctx, "kubectl", args...)
	cmd.Stdin = strings.NewReader(input)
	stdout, _, err = apiserver.Output(cmd)
	return stdout, err
}

// Submit passes a manifest to a command of kubectl, such as apply, in a namespace. It returns what
// kubectl prints, warnings included, and the error carries it too.
func (i *Installation) Submit(ctx context.Context, command, namespace, manifest string) (said string, err error) {
	cmd := i.Server.Command(ctx, "kubectl", command, "--filename=-", "--namespace", namespace)
	cmd.Stdin = strings.NewReader(manifest)
	output, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w\n%s", command, err, output)
	}
	return string(output), err
}

// ProbeHost is the target of the Pod by which an installation finds out that it is ready: its
// policy has to allow it.
const ProbeHost = "probe.mtls-egress.invalid"

// awaitAdmission waits until the API server has the webhook inject an annotated Pod, and refuses
// one that was not injected.
func (i *Installation) awaitAdmission(ctx context.Context) error {
	return await.Until(ctx, await.Patience, "an annotated Pod is injected", func(ctx context.Context) error {
		for _, process := range i.webhooks() {
			if err := process.alive(); err != nil {
				return err
			}
		}
		pod, err := i.Admin.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				GenerateName: "probe-",
				Annotations:  map[string]string{"mtls.egress/target": ProbeHost},
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err
		}
		if pod.Labels["mtls.egress/injected"] != "true" {
			return errors.New("a Pod was admitted as it was")
		}
		return nil
	})
}
