package workloads_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/pki"
)

// stopLimit is how long a controller may take to end.
const stopLimit = 30 * time.Second

// controllers are the programs of Argo Rollouts and JobSet. They have the rights of an
// administrator.
type controllers struct {
	programs  string
	processes map[string]*apiserver.Process
}

func newControllers(programs string) *controllers {
	return &controllers{programs: programs, processes: map[string]*apiserver.Process{}}
}

// start starts both, and returns when JobSet's webhooks answer.
func (c *controllers) start(ctx context.Context) error {
	crds, err := filepath.Glob(filepath.Join(c.manifest("argo-rollouts-crds"), "*-crd.yaml"))
	if err != nil {
		return err
	}
	if err := installed.InstallCRDs(ctx, append(crds, c.manifest("jobset-crd.yaml"))...); err != nil {
		return err
	}
	if err := c.run("argo-rollouts", "--leader-elect=false", "--metricsPort=0", "--healthzPort=0"); err != nil {
		return err
	}
	return c.startJobSet(ctx)
}

func (c *controllers) manifest(name string) string {
	return filepath.Join(c.programs, "manifests", name)
}

func (c *controllers) run(program string, args ...string) (err error) {
	cmd := exec.Command(filepath.Join(c.programs, "bin", program), append(args, "--kubeconfig="+installed.Kubeconfig)...)
	log := filepath.Join(installed.Dir, program+".log")
	process, err := apiserver.StartProcess(cmd, log, installed.StartGuarded)
	if err == nil {
		c.processes[program] = process
	}
	return err
}

// jobSetConfiguration has the port of the webhooks and the folder of their certificate.
const jobSetConfiguration = `apiVersion: config.jobset.x-k8s.io/v1alpha1
kind: Configuration
internalCertManagement: {enable: false}
leaderElection: {leaderElect: false}
webhook: {host: 127.0.0.1, port: %s, certDir: %s}
health: {healthProbeBindAddress: "0"}
metrics: {bindAddress: "0"}
`

func (c *controllers) startJobSet(ctx context.Context) error {
	addresses, err := apiserver.FreeAddresses(1)
	if err != nil {
		return err
	}
	address := addresses[0]
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	ca, err := pki.Authority("JobSet CA")
	if err != nil {
		return err
	}
	template := pki.Server()
	template.IPAddresses = []net.IP{net.ParseIP(host)}
	server, err := ca.Sign(template)
	if err != nil {
		return err
	}
	dir := filepath.Join(installed.Dir, "jobset")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	configuration := filepath.Join(dir, "configuration.yaml")
	for file, content := range map[string][]byte{
		filepath.Join(dir, "tls.crt"): server.CertPEM,
		filepath.Join(dir, "tls.key"): server.KeyPEM,
		configuration:                 fmt.Appendf(nil, jobSetConfiguration, port, dir),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return err
		}
	}
	if err := c.run("jobset", "--config="+configuration); err != nil {
		return err
	}
	if err := c.configureWebhooks(ctx, address, ca.CertPEM); err != nil {
		return err
	}
	return c.awaitWebhooks(ctx)
}

// configureWebhooks installs the webhook configurations of JobSet, with an address in place of the
// Service, and with the names that JobSet's kustomization gives them.
func (c *controllers) configureWebhooks(ctx context.Context, address string, ca []byte) error {
	file, err := os.Open(c.manifest("jobset-webhooks.yaml"))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written
	for decoder := utilyaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		var configuration unstructured.Unstructured
		if err := decoder.Decode(&configuration); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		configuration.SetName("jobset-" + configuration.GetName())
		for _, webhook := range configuration.Object["webhooks"].([]any) {
			path, _, err := unstructured.NestedString(webhook.(map[string]any), "clientConfig", "service", "path")
			if err != nil {
				return err
			}
			webhook.(map[string]any)["clientConfig"] = map[string]any{
				"url": "https://" + address + path, "caBundle": base64.StdEncoding.EncodeToString(ca),
			}
		}
		encoded, err := configuration.MarshalJSON()
		if err != nil {
			return err
		}
		if _, err := installed.KubectlWith(ctx, string(encoded), "create", "--filename=-"); err != nil {
			return err
		}
	}
}

// awaitWebhooks waits until the API server calls JobSet's webhooks. It may not know them yet, and
// then it accepts everything.
func (c *controllers) awaitWebhooks(ctx context.Context) error {
	return await.Until(ctx, await.Patience, "JobSet's webhooks answer", func(ctx context.Context) error {
		for program, process := range c.processes {
			if !process.Running() {
				return await.Final(fmt.Errorf("%s ended", program))
			}
		}
		valid := fmt.Sprintf(jobSet, "{}", "app")
		printed, err := installed.KubectlWith(ctx, strings.ReplaceAll(valid, "restartPolicy: Never, ", ""),
			"create", "--filename=-", "--dry-run=server",
			"--output=jsonpath={.spec.replicatedJobs[0].template.spec.template.spec.restartPolicy}")
		if err != nil {
			return err
		}
		if printed != "OnFailure" {
			return errors.New("a JobSet was created without defaults")
		}
		_, err = installed.KubectlWith(ctx, strings.ReplaceAll(valid, "workers", "Workers"),
			"create", "--filename=-", "--dry-run=server")
		if err == nil || !strings.Contains(err.Error(), refusedByJobSet) {
			return errors.Join(errors.New("a JobSet with an invalid name of a Job isn't refused"), err)
		}
		return nil
	})
}

// refusedByJobSet is in the errors of JobSet's validation.
const refusedByJobSet = `admission webhook "vjobset.kb.io" denied the request`

// stop stops the programs and waits for their ends.
func (c *controllers) stop() error {
	var problems []error
	for _, process := range c.processes {
		problems = append(problems, process.Stop(stopLimit))
	}
	return errors.Join(problems...)
}

// lastWords are the ends of the logs.
func (c *controllers) lastWords() error {
	var words []error
	for _, program := range slices.Sorted(maps.Keys(c.processes)) {
		words = append(words, fmt.Errorf("the log of %s ends with:\n%s", program, c.processes[program].LastWords()))
	}
	return errors.Join(words...)
}
