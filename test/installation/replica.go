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
	"strings"
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

	server                                        *apiserver.Server
	command                                       string
	webhookAddress, healthAddress, metricsAddress string

	process *apiserver.Process // nil when it isn't started
}

// prepareReplicas gives each replica its addresses; nothing is started yet.
func (i *Installation) prepareReplicas(count int) error {
	addresses, err := apiserver.FreeAddresses(3 * count)
	if err != nil {
		return err
	}
	for n := range count {
		own := addresses[3*n:]
		i.Replicas = append(i.Replicas, &Replica{
			Log: filepath.Join(i.Dir, fmt.Sprintf("webhook-%d.log", n)), server: i.Server, command: i.Command,
			webhookAddress: own[0], healthAddress: own[1], metricsAddress: own[2],
		})
	}
	if count > 1 {
		i.service, err = newService(i.Replicas)
	}
	return err
}

// serveArgs are the arguments of the chart's Deployment.
func (i *Installation) serveArgs(ctx context.Context) ([]string, error) {
	args := append([]string{"template", "--show-only", "templates/deployment.yaml"}, i.chartArgs(i.values...)...)
	manifest, _, err := i.Helm(ctx, args...)
	if err != nil {
		return nil, err
	}
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict([]byte(manifest), &deployment); err != nil {
		return nil, fmt.Errorf("reading the chart's Deployment: %w", err)
	}
	serve := deployment.Spec.Template.Spec.Containers[0].Args
	for n := range serve {
		serve[n] = strings.ReplaceAll(serve[n], "$(POD_NAMESPACE)", Namespace)
	}
	return append(serve, "--kubeconfig="+i.webhookKubeconfig(), "--tls-dns-names=127.0.0.1", "--webhook-host=127.0.0.1"), nil
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

// start does nothing when the process runs already.
func (r *Replica) start(args []string) error {
	if r.Running() {
		return nil
	}
	_, webhookPort, err := net.SplitHostPort(r.webhookAddress)
	if err != nil {
		return err
	}
	cmd := exec.Command(r.command, append(slices.Clip(args),
		"--webhook-port="+webhookPort, "--health-address="+r.healthAddress, "--metrics-address="+r.metricsAddress)...)
	process, err := apiserver.StartProcess(cmd, r.Log, r.server.StartGuarded)
	if err != nil {
		return err
	}
	r.process = process
	return nil
}

// Running says whether the process runs.
func (r *Replica) Running() bool { return r.process != nil && r.process.Running() }

// Stop sends SIGTERM and waits for the end. One that doesn't end in time is killed, which is an error, as is a bad exit.
func (r *Replica) Stop() error {
	if r.process == nil {
		return nil
	}
	err := r.process.Stop(stopLimit)
	r.process = nil
	return err
}

// awaitReady waits until /readyz answers with OK.
func (r *Replica) awaitReady(ctx context.Context) error {
	return await(ctx, "the webhook gets ready", func(ctx context.Context) error {
		if !r.Running() {
			return apiserver.Final(fmt.Errorf("it ended; it said at the end:\n%s", r.process.LastWords()))
		}
		return r.ready(ctx)
	})
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

// awaitAdmission waits until the API server has the webhook realise an annotated Pod, and refuses one that was not realised.
func (i *Installation) awaitAdmission(ctx context.Context) error {
	return await(ctx, "an annotated Pod is realised", func(ctx context.Context) error {
		for n, replica := range i.Replicas {
			if !replica.Running() {
				return apiserver.Final(fmt.Errorf("replica %d ended; it said at the end:\n%s", n, replica.process.LastWords()))
			}
		}
		pod, err := i.Admin.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-", Annotations: map[string]string{"mtls.egress/target": "probe.mtls-egress.invalid"}},
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
