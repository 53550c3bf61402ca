package installation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/test/apiserver"
)

// stopLimit is how long a replica may take to end: more than the 30 seconds of the longest shutdown delay and the 20 seconds
// that requests under way have after it.
const stopLimit = time.Minute

// Replica is one webhook process.
type Replica struct {
	// Log is the file with what it says, over all its starts.
	Log string
	// CertificateDir is where it finds what its Pod would have mounted with servingCertificate.provider=cert-manager. Nobody writes it but who sets the value.
	CertificateDir string

	server                                        *apiserver.Server
	memoryLimit                                   string // that of the chart, as the environment tells Go's runtime
	command                                       string
	webhookAddress, healthAddress, metricsAddress string

	service *service // nil when the API server calls the replica directly
	pod     atomic.Pointer[pod]
}

// pod is one life of a replica.
type pod struct {
	replica *Replica
	process *apiserver.Process
	// ready is what the kubelet says of it.
	ready atomic.Bool
	// killed is whether it was ended without a warning.
	killed atomic.Bool
	// deleted is closed by delete: from then on the Pod isn't ready.
	deleted chan struct{}
	delete  func()
}

// prepareReplicas gives each replica its addresses; nothing is started yet.
func (i *Installation) prepareReplicas(count int) (err error) {
	if count > 1 {
		if i.service, err = newService(); err != nil {
			return err
		}
	}
	addresses, err := apiserver.FreeAddresses(3 * count)
	if err != nil {
		return err
	}
	for n := range count {
		own := addresses[3*n:]
		i.Replicas = append(i.Replicas, &Replica{
			Log: filepath.Join(i.Dir, fmt.Sprintf("webhook-%d.log", n)), CertificateDir: filepath.Join(i.Dir, fmt.Sprintf("certificate-%d", n)), server: i.Server, command: i.Command,
			webhookAddress: own[0], healthAddress: own[1], metricsAddress: own[2], service: i.service,
		})
	}
	return nil
}

// container is that of the chart's Deployment, with what a process beside the cluster needs in addition.
func (i *Installation) container(ctx context.Context) (*corev1.Container, error) {
	args := append([]string{"template", "--show-only", "templates/deployment.yaml"}, i.chartArgs(i.values...)...)
	manifest, _, err := i.Helm(ctx, args...)
	if err != nil {
		return nil, err
	}
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict([]byte(manifest), &deployment); err != nil {
		return nil, fmt.Errorf("reading the chart's Deployment: %w", err)
	}
	container := &deployment.Spec.Template.Spec.Containers[0]
	for _, replica := range i.Replicas {
		replica.memoryLimit = strconv.FormatInt(container.Resources.Limits.Memory().Value(), 10)
	}
	for n := range container.Args {
		container.Args[n] = strings.ReplaceAll(container.Args[n], "$(POD_NAMESPACE)", Namespace)
	}
	container.Args = append(container.Args, "--kubeconfig="+i.webhookKubeconfig(), "--tls-dns-names=127.0.0.1", "--webhook-host=127.0.0.1")
	return container, nil
}

func (i *Installation) webhookKubeconfig() string { return filepath.Join(i.Dir, "webhook.kubeconfig") }

// connect writes the kubeconfig of the webhook: a token of the chart's service account, so that it has the chart's rights only.
func (i *Installation) connect(ctx context.Context) error {
	if err := os.WriteFile(i.webhookKubeconfig(), nil, 0o600); err != nil {
		return err
	}
	token, err := i.Admin.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, Release, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64((24 * time.Hour).Seconds()))},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("asking for a token of the chart's service account: %w", err)
	}
	return clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{Release: {Server: i.Config.Host, CertificateAuthorityData: i.Config.CAData}},
		AuthInfos:      map[string]*api.AuthInfo{Release: {Token: token.Status.Token}},
		Contexts:       map[string]*api.Context{Release: {Cluster: Release, AuthInfo: Release}},
		CurrentContext: Release,
	}, i.webhookKubeconfig())
}

// Address is where the replica itself answers admission requests.
func (r *Replica) Address() string { return r.webhookAddress }

// HealthAddress is where it is asked for its health.
func (r *Replica) HealthAddress() string { return r.healthAddress }

// MetricsAddress is where it is asked for its metrics.
func (r *Replica) MetricsAddress() string { return r.metricsAddress }

// start does nothing when the process runs already.
func (r *Replica) start(ctx context.Context, container *corev1.Container) error {
	if r.Running() {
		return nil
	}
	_, webhookPort, err := net.SplitHostPort(r.webhookAddress)
	if err != nil {
		return err
	}
	args := slices.Clone(container.Args)
	for n, arg := range args {
		if strings.HasPrefix(arg, "--serving-certificate-dir=") {
			args[n] = "--serving-certificate-dir=" + r.CertificateDir
		}
	}
	cmd := exec.Command(r.command, append(args,
		"--webhook-port="+webhookPort, "--health-address="+r.healthAddress, "--metrics-address="+r.metricsAddress)...)
	cmd.Env = append(os.Environ(), "GOMEMLIMIT="+r.memoryLimit)
	process, err := apiserver.StartProcess(cmd, r.Log, r.server.StartGuarded)
	if err != nil {
		return err
	}
	started := &pod{replica: r, process: process, deleted: make(chan struct{})}
	started.delete = sync.OnceFunc(func() { close(started.deleted) })
	if before := r.pod.Swap(started); before != nil { // one that ended by itself
		before.delete()
	}
	if r.service != nil {
		r.service.follow(context.WithoutCancel(ctx), started, container.ReadinessProbe)
	}
	return nil
}

// Running says whether the process runs.
func (r *Replica) Running() bool {
	pod := r.pod.Load()
	return pod != nil && pod.process.Running()
}

// PID is the process ID of a replica that was started.
func (r *Replica) PID() int { return r.pod.Load().process.PID() }

// Stop does what deleting a Pod does: the Service is told, and at the same time the process gets SIGTERM. It waits for the end. One that
// doesn't end in time is killed, which is an error, as is a bad exit. One that isn't started, or was killed, is fine.
func (r *Replica) Stop() error {
	pod := r.pod.Load()
	if pod == nil {
		return nil
	}
	pod.delete()
	if pod.killed.Load() {
		return nil
	}
	err := pod.process.Stop(stopLimit)
	r.pod.CompareAndSwap(pod, nil)
	return err
}

// Kill ends the process with SIGKILL. Nobody is told: the kubelet finds out.
func (r *Replica) Kill() error {
	pod := r.pod.Load()
	pod.killed.Store(true)
	return pod.process.Kill()
}

// awaitReady waits until /readyz answers with OK.
func (r *Replica) awaitReady(ctx context.Context) error {
	return await(ctx, "the webhook gets ready", func(ctx context.Context) error {
		if !r.Running() {
			return apiserver.Final(fmt.Errorf("it ended; it said at the end:\n%s", r.lastWords()))
		}
		if err := r.ready(ctx); err != nil {
			return err
		}
		if r.service != nil && !r.pod.Load().ready.Load() {
			return errors.New("the kubelet has not seen it ready")
		}
		return nil
	})
}

func (r *Replica) lastWords() string {
	pod := r.pod.Load()
	if pod == nil {
		return ""
	}
	return pod.process.LastWords()
}

func (r *Replica) ready(ctx context.Context) error {
	_, err := get(ctx, "http://"+r.healthAddress+"/readyz")
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

// ProbeHost is the target of the Pod by which an installation finds out that it is ready: its policy has to allow it.
const ProbeHost = "probe.mtls-egress.invalid"

// awaitAdmission waits until the API server has the webhook realise an annotated Pod, and refuses one that was not realised.
func (i *Installation) awaitAdmission(ctx context.Context) error {
	return await(ctx, "an annotated Pod is realised", func(ctx context.Context) error {
		for n, replica := range i.Replicas {
			if !replica.Running() {
				return apiserver.Final(fmt.Errorf("replica %d ended; it said at the end:\n%s", n, replica.lastWords()))
			}
		}
		pod, err := i.Admin.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-", Annotations: map[string]string{"mtls.egress/target": ProbeHost}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err
		}
		if pod.Labels["mtls.egress/realised"] != "true" {
			return errors.New("a Pod was admitted as it was")
		}
		return nil
	})
}
