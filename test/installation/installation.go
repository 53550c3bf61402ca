// Package installation brings up what the suites, the demo and the benchmarks share: a real API server with Istio's CRDs, the
// chart installed by Helm, and the webhook as processes beside it, which have the chart's arguments and the rights of the
// chart's service account and no more. All traffic stays on the loopback interface.
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

	"k8s.io/client-go/kubernetes"

	"mtls.egress/webhook/test/apiserver"
)

// What the release is called, and where it is installed.
const (
	Release   = "mtls-egress-webhook"
	Namespace = "mtls-egress"
)

// User is whom the webhooks run as.
const User = "system:serviceaccount:" + Namespace + ":" + Release

// WebhookConfiguration is the name of the release's MutatingWebhookConfiguration.
const WebhookConfiguration = "0-" + Release

// patience bounds every wait. It is no measure: what is waited for takes seconds, or never happens.
const patience = 2 * time.Minute

// Options of Start. The zero value is fine.
type Options struct {
	// Values are values of the chart, each as Helm's --set takes it. They win over those that put the webhook outside of the
	// cluster, let it stop without delay, and have unused EgressTargets removed after two seconds.
	Values []string
	// Replicas is how many webhooks run. Default: 1, which the API server calls directly; more stand behind a Service.
	Replicas int
	// BeforeInstall is called when the API server runs with Istio's CRDs, and the chart is not yet installed. Default: nothing.
	BeforeInstall func(context.Context, *Installation) error
	// APIServer are the options of the API server.
	APIServer apiserver.Options
	// Say is told each step before it is taken, as a sentence without a full stop. Default: nobody is told.
	Say func(step string)
}

// Installation is a running API server with the chart and its webhooks.
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

	values  []string
	service *service
	stop    func() error
}

// Start builds the webhook, starts everything and returns when an annotated Pod is realised. The caller calls Stop. When Start
// returns an error, nothing is left running.
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
	options.Say("building the webhook")
	if err := i.build(ctx); err != nil {
		return err
	}
	options.Say("installing Istio's CRDs")
	if err := i.installIstio(ctx); err != nil {
		return err
	}
	if err := i.prepareReplicas(max(1, options.Replicas)); err != nil {
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
	options.Say("starting the webhook beside the API server")
	return i.StartWebhook(ctx)
}

// Stop stops the webhooks and the API server and removes all files of theirs. Another call returns what the first one did.
func (i *Installation) Stop() error { return i.stop() }

func (i *Installation) shutDown() error {
	err := i.StopWebhook()
	if i.service != nil {
		err = errors.Join(err, i.service.close())
	}
	return errors.Join(err, i.Server.Stop())
}

func (i *Installation) build(ctx context.Context) error {
	i.Command = filepath.Join(i.Dir, Release)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", i.Command, "mtls.egress/webhook/cmd/webhook") // as make build does
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	// Interrupted it ends its compilers and removes its files; killed it would leave both.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("building the webhook: %w\n%s", err, output)
	}
	return nil
}

func (i *Installation) installIstio(ctx context.Context) error {
	crds, err := apiserver.IstioCRDs(ctx)
	if err != nil {
		return err
	}
	if _, _, err := i.Kubectl(ctx, "apply", "--server-side", "--filename", crds); err != nil {
		return err
	}
	_, _, err = i.Kubectl(ctx, "wait", "--for=condition=Established", "--timeout="+patience.String(), "--filename", crds)
	return err
}

// chartArgs are the arguments of Helm that name the chart and its values; later values win.
func (i *Installation) chartArgs(values ...string) []string {
	args := []string{Release, filepath.Join(i.Root, "charts", "mtls-egress-webhook"), "--namespace", Namespace}
	for _, value := range append([]string{"deployment.shutdownDelay=0s", "controller.targetRetention=2s"}, values...) {
		args = append(args, "--set", value)
	}
	return args
}

// beside are the values that put the webhook outside of the cluster.
func (i *Installation) beside() []string {
	return []string{"deployment.enabled=false", "webhook.url=https://" + i.address()}
}

// address is where the API server finds the webhook.
func (i *Installation) address() string {
	if i.service != nil {
		return i.service.address()
	}
	return i.Replicas[0].webhookAddress
}

func (i *Installation) install(ctx context.Context, values []string) error {
	i.values = values
	args := append([]string{"install", "--create-namespace"}, i.chartArgs(append(i.beside(), values...)...)...)
	if _, _, err := i.Helm(ctx, args...); err != nil {
		return err
	}
	if _, _, err := i.Kubectl(ctx, "wait", "--for=condition=Established", "--timeout="+patience.String(), "customresourcedefinition/egresstargets.mtls.egress"); err != nil {
		return err
	}
	return i.connect(ctx)
}

// Upgrade installs the chart with other values, which replace those of Options. Arguments of the webhook that follow from them
// count from its next start.
func (i *Installation) Upgrade(ctx context.Context, values ...string) error {
	i.values = values
	_, _, err := i.Helm(ctx, append([]string{"upgrade"}, i.chartArgs(append(i.beside(), values...)...)...)...)
	return err
}

// StartWebhook starts the replicas that don't run and returns when annotated Pods are realised.
func (i *Installation) StartWebhook(ctx context.Context) error {
	container, err := i.container(ctx)
	if err != nil {
		return err
	}
	for _, replica := range i.Replicas {
		if err := replica.start(ctx, container); err != nil {
			return err
		}
	}
	for _, replica := range i.Replicas {
		if err := replica.awaitReady(ctx); err != nil {
			return err
		}
	}
	return i.awaitAdmission(ctx)
}

// StartReplica starts one replica, unless it runs, and returns when its Pod is ready. The Service may learn of that a moment later. One that was killed is started
// when the kubelet has noticed that.
func (i *Installation) StartReplica(ctx context.Context, replica *Replica) error {
	container, err := i.container(ctx)
	if err != nil {
		return err
	}
	if pod := replica.pod.Load(); pod != nil && pod.killed.Load() {
		err := await(ctx, "the kubelet notices that a replica was killed", func(context.Context) error {
			if pod.ready.Load() {
				return errors.New("it says that the Pod is ready")
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := replica.start(ctx, container); err != nil {
		return err
	}
	return replica.awaitReady(ctx)
}

// TimeStart starts one replica that doesn't run, and returns how long it takes until /readyz says that it is ready, whenever a kubelet would ask.
func (i *Installation) TimeStart(ctx context.Context, replica *Replica) (time.Duration, error) {
	container, err := i.container(ctx)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := replica.start(ctx, container); err != nil {
		return 0, err
	}
	err = await(ctx, "the webhook gets ready", replica.ready)
	return time.Since(begun), err
}

// InService says whether the Service hands connections to a replica, be it there or not.
func (i *Installation) InService(replica *Replica) bool {
	return i.service != nil && i.service.has(replica)
}

// Connections are those that the Service took so far, and those of them that it handed to a replica that was gone, or to none.
func (i *Installation) Connections() (taken, lost int64) {
	if i.service == nil {
		return 0, 0
	}
	return i.service.accepted.Load(), i.service.reset.Load()
}

// StopWebhook sends SIGTERM to the replicas that run and waits for their ends. Stopped ones are fine.
func (i *Installation) StopWebhook() error {
	var problems []error
	for _, replica := range i.Replicas {
		problems = append(problems, replica.Stop())
	}
	return errors.Join(problems...)
}

// KubectlWith runs kubectl with an input and returns what it prints. The error carries standard error.
func (i *Installation) KubectlWith(ctx context.Context, input string, args ...string) (stdout string, err error) {
	cmd := i.Server.Command(ctx, "kubectl", args...)
	cmd.Stdin = strings.NewReader(input)
	stdout, _, err = apiserver.Output(cmd)
	return stdout, err
}

func await(ctx context.Context, what string, reached func(context.Context) error) error {
	return apiserver.Await(ctx, patience, what, reached)
}
