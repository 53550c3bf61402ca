package installation

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/test/apiserver"
)

// Replica is a webhook.
type Replica struct {
	*Process
	// CertificateDir is the directory of the certificate that the chart mounts if
	// servingCertificate.provider is cert-manager. Nothing is mounted here: a test that sets the
	// value writes the files.
	CertificateDir string

	address string
}

// Address is host and port at which the webhook itself answers admission requests.
func (r *Replica) Address() string { return r.address }

// webhookFlags has the webhook listen at its own address, and find its certificate if it is in
// files.
func (r *Replica) webhookFlags(chart []string) []string {
	host, port, _ := net.SplitHostPort(r.address) // apiserver.FreeAddresses made it
	flags := []string{"--webhook-host=" + host, "--webhook-port=" + port, "--tls-dns-names=" + host}
	for _, arg := range chart {
		if strings.HasPrefix(arg, "--serving-certificate-dir=") {
			flags = append(flags, "--serving-certificate-dir="+r.CertificateDir)
		}
	}
	return flags
}

// prepareProcesses prepares webhooks, with the addresses at which they will answer, and
// controllers; nothing is started yet.
func (i *Installation) prepareProcesses(webhooks, controllers int) (err error) {
	if webhooks > 1 {
		if i.service, err = newService(); err != nil {
			return err
		}
	}
	addresses, err := apiserver.FreeAddresses(webhooks)
	if err != nil {
		return err
	}
	prepare := func(kind string, n int, deployment string) *Process {
		name := fmt.Sprintf("%s-%d", kind, n)
		return &Process{
			Name: name, Log: filepath.Join(i.Dir, name+".log"),
			server: i.Server, command: i.Command, deployment: deployment, kubeconfig: i.kubeconfigOf(deployment),
			flags: func([]string) []string { return nil },
		}
	}
	for n := range webhooks {
		replica := &Replica{
			Process: prepare("webhook", n, Release), address: addresses[n],
			CertificateDir: filepath.Join(i.Dir, fmt.Sprintf("certificate-%d", n)),
		}
		replica.flags = replica.webhookFlags
		if i.service != nil {
			replica.follow = func(ctx context.Context, pod *pod, probe *corev1.Probe) {
				i.service.follow(ctx, endpoint{pod, replica.address}, probe)
			}
		}
		i.Replicas = append(i.Replicas, replica)
	}
	for n := range controllers {
		i.Controllers = append(i.Controllers, prepare("controller", n, ControllerName))
	}
	return nil
}

// webhooks are the processes of the Replicas.
func (i *Installation) webhooks() []*Process {
	var processes []*Process
	for _, replica := range i.Replicas {
		processes = append(processes, replica.Process)
	}
	return processes
}

// Processes are the webhooks and the controllers, running or not.
func (i *Installation) Processes() []*Process { return append(i.webhooks(), i.Controllers...) }
