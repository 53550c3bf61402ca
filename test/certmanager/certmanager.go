// Package certmanager runs the real cert-manager beside a real API server, for the tests of what it
// is asked for: its controllers, its webhook with a serving certificate of its own, and the CA
// injector that tells the API server which CA that has. The webhook listens on the loopback
// interface, and the others nowhere; so the API server has to run on this machine, as
// test/apiserver and test/cluster do.
//
// What test/tools/certmanager leaves out of the programs isn't there: the issuers but for CA and
// SelfSigned, the shims of Ingress and Gateway, and leader election.
package certmanager

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
)

// Namespace is where cert-manager keeps the CA of its webhook and the Secrets of ClusterIssuers.
const Namespace = "cert-manager"

// release is what the chart is rendered as. With it the CA's Secret has the name that the
// annotation of the webhook configurations gives.
const release = "cert-manager"

// webhookName is the name of the webhook in both configurations.
const webhookName = "webhook.cert-manager.io"

// stopLimit is how long a program may take to end, which takes a second.
const stopLimit = 30 * time.Second

// Options of Start.
type Options struct {
	// Kubeconfig is a file with the connection of an administrator, whose rights the programs have.
	Kubeconfig string
	// Dir is a folder for the logs, such as cert-manager-webhook.log, and the caches of kubectl and
	// Helm. It must exist; Stop leaves it.
	Dir string
	// Tools is the directory of kubectl and helm. Default: what apiserver.Assets returns.
	Tools string
	// Start starts a program so that it ends when this process does, such as apiserver's
	// Server.StartGuarded. Default: it is just started, for a process whose end is the end of all that
	// it started, as under cluster.Isolate.
	Start apiserver.Starter
}

// CertManager is a running cert-manager.
type CertManager struct {
	// Client is an administrator's, which knows cert-manager's types. It reads without a cache.
	Client client.Client

	options   Options
	programs  string
	processes map[string]*apiserver.Process
	stop      func() error
}

// Beside are the options for a server of test/apiserver.
func Beside(server *apiserver.Server) Options {
	return Options{
		Kubeconfig: server.Kubeconfig,
		Dir:        server.Dir,
		Tools:      filepath.Join(server.Dir, "assets"),
		Start:      server.StartGuarded,
	}
}

// Start installs cert-manager's CustomResourceDefinitions and webhook configurations, starts the
// programs and returns when both webhooks answer. The caller calls Stop. When Start returns an
// error, nothing is left running. The process must run within the project.
func Start(ctx context.Context, options Options) (*CertManager, error) {
	c := &CertManager{options: options, processes: map[string]*apiserver.Process{}}
	c.stop = sync.OnceValue(c.shutDown)
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.lastWords(), c.Stop())
	}
	return c, nil
}

func (c *CertManager) start(ctx context.Context) (err error) {
	if c.options.Start == nil {
		c.options.Start = unguarded
	}
	if c.options.Tools == "" {
		if c.options.Tools, err = apiserver.Assets(ctx); err != nil {
			return err
		}
	}
	if c.programs, err = programs(ctx); err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	addresses, err := apiserver.FreeAddresses(1)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return err
	}
	if err := c.install(ctx, port); err != nil {
		return err
	}
	for name, args := range map[string][]string{
		"cert-manager-controller": {"--cluster-resource-namespace=" + Namespace},
		"cert-manager-cainjector": nil,
		"cert-manager-webhook": {
			"--secure-port=" + port, "--dynamic-serving-ca-secret-namespace=" + Namespace,
			"--dynamic-serving-ca-secret-name=" + release + "-webhook-ca", "--dynamic-serving-dns-names=" + webhookHost,
		},
	} {
		cmd := exec.Command(filepath.Join(c.programs, "bin", name), append(args, "--kubeconfig="+c.options.Kubeconfig)...)
		if c.processes[name], err = apiserver.StartProcess(cmd, c.log(name), c.options.Start); err != nil {
			delete(c.processes, name)
			return err
		}
	}
	return c.awaitWebhooks(ctx)
}

// InstallTypes installs cert-manager's CustomResourceDefinitions alone, without anything that would
// act on such objects. The process must run within the project.
func InstallTypes(ctx context.Context, options Options) (err error) {
	c := &CertManager{options: options}
	if c.programs, err = programs(ctx); err != nil {
		return err
	}
	return c.installTypes(ctx)
}

// programs returns the directory of the programs and the chart.
func programs(ctx context.Context) (string, error) { return apiserver.Tools(ctx, "certmanager") }

// unguarded leaves the program's end to the caller. It gets a process group of its own, so that a
// Ctrl-C does not reach it.
func unguarded(cmd *exec.Cmd) (release func() error, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return func() error { return nil }, cmd.Start()
}

func (c *CertManager) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.options.Kubeconfig)
	if err != nil {
		return err
	}
	types := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(types), certmanagerv1.AddToScheme(types)); err != nil {
		return err
	}
	config.QPS = -1 // the API server limits its clients itself
	c.Client, err = client.New(config, client.Options{Scheme: types})
	return err
}

// webhookHost is the name that the API server calls the webhook by. An address would be no use: the
// webhook's certificate has DNS names only
// (https://github.com/cert-manager/cert-manager/blob/v1.21.2/pkg/server/tls/dynamic_source.go).
const webhookHost = "localhost"

// install makes the API server know cert-manager's types and where its webhook is. The chart is
// rendered, not installed, as it would bring the Deployments.
func (c *CertManager) install(ctx context.Context, port string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	if err := c.Client.Create(ctx, namespace); client.IgnoreAlreadyExists(err) != nil {
		return err
	}
	if err := c.installTypes(ctx); err != nil {
		return err
	}
	webhooks, err := c.render(ctx, []string{"webhook-mutating-webhook.yaml", "webhook-validating-webhook.yaml"},
		"--set", "webhook.url.host="+net.JoinHostPort(webhookHost, port))
	if err != nil {
		return err
	}
	_, err = c.run(ctx, webhooks, "kubectl", "apply", "--server-side", "--filename", "-")
	return err
}

func (c *CertManager) installTypes(ctx context.Context) error {
	crds, err := filepath.Glob(filepath.Join(c.chart(), "templates", "crd-*.yaml"))
	if err != nil {
		return err
	}
	types, err := c.render(ctx, crds)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "--filename", "-"},
		{"wait", "--for=condition=Established", "--timeout=" + await.Patience.String(), "--filename", "-"},
	} {
		if _, err := c.run(ctx, types, "kubectl", args...); err != nil {
			return err
		}
	}
	return nil
}

func (c *CertManager) chart() string { return filepath.Join(c.programs, "chart") }

// render returns what the chart makes of some of its templates.
func (c *CertManager) render(ctx context.Context, templates []string, values ...string) (manifests string, err error) {
	args := append([]string{"template", release, c.chart(), "--namespace", Namespace, "--set", "crds.enabled=true"},
		values...)
	for _, template := range templates {
		args = append(args, "--show-only", filepath.Join("templates", filepath.Base(template)))
	}
	return c.run(ctx, "", "helm", args...)
}

func (c *CertManager) run(ctx context.Context, input, program string, args ...string) (stdout string, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.options.Tools, program), args...)
	cmd.Env = apiserver.Environment(c.options.Kubeconfig, c.options.Dir)
	cmd.Stdin = strings.NewReader(input)
	stdout, _, err = apiserver.Output(cmd)
	return stdout, err
}

// awaitWebhooks waits until the API server asks both webhooks. It may not know of one yet, which
// then lets everything pass.
func (c *CertManager) awaitWebhooks(ctx context.Context) error {
	request, err := signingRequest()
	if err != nil {
		return err
	}
	probe := metav1.ObjectMeta{GenerateName: "probe-", Namespace: Namespace}
	issuer := cmmeta.IssuerReference{Name: "probe"}
	if err := c.await(ctx, "cert-manager's webhook validates", func(ctx context.Context) error {
		err := c.Client.Create(ctx, &certmanagerv1.Certificate{
			ObjectMeta: probe,
			Spec:       certmanagerv1.CertificateSpec{SecretName: "probe", IssuerRef: issuer},
		}, client.DryRunAll)
		if Refused(err) {
			return nil
		}
		return errors.Join(errors.New("it doesn't refuse a Certificate without names"), err)
	}); err != nil {
		return err
	}
	return c.await(ctx, "cert-manager's webhook mutates", func(ctx context.Context) error {
		made := &certmanagerv1.CertificateRequest{
			ObjectMeta: probe,
			Spec:       certmanagerv1.CertificateRequestSpec{Request: request, IssuerRef: issuer},
		}
		if err := c.Client.Create(ctx, made, client.DryRunAll); err != nil {
			return err
		}
		if made.Spec.Username == "" {
			return errors.New("a CertificateRequest doesn't say who asks")
		}
		return nil
	})
}

// await calls reached until it returns no error, while the programs run.
func (c *CertManager) await(ctx context.Context, what string, reached func(context.Context) error) error {
	return await.Until(ctx, await.Patience, what, func(ctx context.Context) error {
		for name, process := range c.processes {
			if !process.Running() {
				return await.Final(fmt.Errorf("%s ended", name))
			}
		}
		return reached(ctx)
	})
}

// signingRequest is a new PKCS #10 request in PEM.
func signingRequest() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"probe"}}, key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), err
}

// Refused reports whether cert-manager's webhook answered that it doesn't allow what the API server
// was asked for.
func Refused(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	return ok &&
		strings.HasPrefix(status.ErrStatus.Message, fmt.Sprintf("admission webhook %q denied the request: ", webhookName))
}

// AwaitReady waits until an object of cert-manager in a namespace, such as "certificate/orders" or
// "issuer/partner", has the condition Ready for its present generation. The error carries what the
// programs said last.
func (c *CertManager) AwaitReady(ctx context.Context, namespace, object string) error {
	_, err := c.run(ctx, "", "kubectl", "wait", "--for=condition=Ready", "--timeout="+await.Patience.String(),
		"--namespace", namespace, object)
	if err != nil {
		err = errors.Join(err, c.lastWords())
	}
	return err
}

// Stop stops the programs and waits for their ends. What was installed stays: until it is removed,
// the API server refuses what only a webhook could allow. Another call returns what the first one
// did.
func (c *CertManager) Stop() error { return c.stop() }

func (c *CertManager) shutDown() error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(c.processes)) {
		problems = append(problems, c.processes[name].Stop(stopLimit))
	}
	return errors.Join(problems...)
}

func (c *CertManager) log(program string) string { return filepath.Join(c.options.Dir, program+".log") }

// lastWords are the ends of the programs' logs.
func (c *CertManager) lastWords() error {
	var words []error
	for _, name := range slices.Sorted(maps.Keys(c.processes)) {
		words = append(words, fmt.Errorf("%s said at the end:\n%s", name, c.processes[name].LastWords()))
	}
	return errors.Join(words...)
}
