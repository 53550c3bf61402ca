// Package apiserver runs a real kube-apiserver on an etcd of its own, for tests and for the demo.
// There is no controller manager, no scheduler and no node: a Deployment makes no Pods, nothing is
// garbage collected, and a deleted namespace stays in Terminating. The admission plugins are
// kube-apiserver's defaults but for ServiceAccount, which would refuse every Pod as no controller
// makes the service accounts.
//
// Ports, certificates and users come from controller-runtime's envtest. Nothing outlives the
// process that started it, also when that is killed: see guard.
package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Options of Start. The zero value is fine.
type Options struct {
	// Assets is the directory of etcd, kube-apiserver, kubectl and helm. Default: what Assets returns.
	Assets string
	// Args are flags for kube-apiserver, by name without dashes, in addition to those that envtest
	// sets, such as {"runtime-config": {"admissionregistration.k8s.io/v1beta1=true"}}.
	Args map[string][]string
	// AuditPolicy is an audit.k8s.io Policy as YAML or JSON: what it asks for is in the file that
	// AuditLog names when a request is answered. Default: no log.
	AuditPolicy string
}

// Server is a running kube-apiserver.
type Server struct {
	// Config is the connection of an administrator (group system:masters), in practice without a
	// client-side rate limit.
	Config *rest.Config
	// Kubeconfig is a file with the same connection.
	Kubeconfig string
	// Dir holds all files of the server, among them etcd.log and kube-apiserver.log. Stop removes it.
	Dir string

	plane *envtest.ControlPlane
	guard *guard
	logs  []*os.File
	stop  func() error
}

// limit is how long etcd and kube-apiserver may each take to start and to stop. On an idle machine
// they need 5 seconds together.
const limit = 3 * time.Minute

// restartGrace is how long kube-apiserver may take to stop in a restart.
const restartGrace = 5 * time.Second

// Start starts etcd and kube-apiserver and returns when the API is ready and the namespace default
// exists. The caller calls Stop. When Start returns an error, nothing is left running. The context
// is obeyed between the steps: once a server is starting it has its minute.
func Start(ctx context.Context, options Options) (*Server, error) {
	assets := options.Assets
	if assets == "" {
		var err error
		if assets, err = Assets(ctx); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "mtls-egress-apiserver-")
	if err != nil {
		return nil, err
	}
	server := &Server{Dir: dir, Kubeconfig: filepath.Join(dir, "kubeconfig"), plane: &envtest.ControlPlane{}}
	server.stop = sync.OnceValue(server.shutDown)
	if err := server.start(ctx, assets, options); err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return server, nil
}

func (s *Server) start(ctx context.Context, assets string, options Options) (err error) {
	if s.guard, err = newGuard(s.Dir, assets); err != nil {
		return err
	}
	etcdLog, err := s.log("etcd")
	if err != nil {
		return err
	}
	apiserverLog, err := s.log("kube-apiserver")
	if err != nil {
		return err
	}
	for _, name := range []string{"etcd", "certificates"} {
		if err := os.Mkdir(filepath.Join(s.Dir, name), 0o700); err != nil {
			return err
		}
	}
	s.plane.Etcd = &envtest.Etcd{
		Path: s.guard.wrapper(
			"etcd",
		), DataDir: filepath.Join(s.Dir, "etcd"), Out: etcdLog, Err: etcdLog, StartTimeout: limit, StopTimeout: limit,
	}
	s.plane.APIServer = &envtest.APIServer{
		Path:         s.guard.wrapper("kube-apiserver"),
		CertDir:      filepath.Join(s.Dir, "certificates"),
		Out:          apiserverLog,
		Err:          apiserverLog,
		StartTimeout: limit,
		StopTimeout:  limit,
	}
	for name, values := range options.Args {
		s.plane.APIServer.Configure().Append(name, values...)
	}
	if options.AuditPolicy != "" {
		policy := filepath.Join(s.Dir, "audit-policy")
		if err := os.WriteFile(policy, []byte(options.AuditPolicy), 0o600); err != nil {
			return err
		}
		s.plane.APIServer.Configure().
			Append("audit-policy-file", policy).
			Append("audit-log-path", s.AuditLog()).
			Append("audit-log-mode", "blocking")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.plane.Start(); err != nil {
		return fmt.Errorf("%w\n%s", err, s.lastWords())
	}
	admin, err := s.plane.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}},
		&rest.Config{QPS: 1000, Burst: 2000})
	if err != nil {
		return err
	}
	s.Config = admin.Config()
	kubeconfig, err := admin.KubeConfig()
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.Kubeconfig, kubeconfig, 0o600); err != nil {
		return err
	}
	// kube-apiserver makes it after it has become healthy.
	_, _, err = s.Kubectl(ctx, "wait", "--for=create", "namespace/default", "--timeout="+limit.String())
	return err
}

// AuditLog is the file with the events of Options.AuditPolicy, each as JSON in a line.
func (s *Server) AuditLog() string { return filepath.Join(s.Dir, "audit.log") }

// Audited are the events in the AuditLog so far.
func (s *Server) Audited() ([]auditv1.Event, error) {
	log, err := os.ReadFile(s.AuditLog())
	if err != nil {
		return nil, err
	}
	log = log[:bytes.LastIndexByte(log, '\n')+1] // what comes after it is being written
	var events []auditv1.Event
	for line := range bytes.Lines(log) {
		var event auditv1.Event
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, err
		}
		events = append(events, event)
	}
	return events, nil
}

// APIServerProcess is the process of kube-apiserver, for its processor time.
func (s *Server) APIServerProcess() (procfs.Proc, error) {
	pid, err := s.guard.pid("kube-apiserver")
	if err != nil {
		return procfs.Proc{}, err
	}
	return procfs.NewProc(pid)
}

// Restart stops kube-apiserver and, after being away for some time, starts it again at the same
// address, with the same users and the data that etcd kept. It returns when the API is ready. As a
// kubelet does, it sends SIGTERM first, and SIGKILL when that takes too long: kube-apiserver waits
// for its clients to end their watches.
func (s *Server) Restart(away time.Duration) error {
	pid, err := s.guard.pid("kube-apiserver")
	if err != nil {
		return err
	}
	impatient := time.AfterFunc(restartGrace,
		func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) // it may have ended just now
	err = s.plane.APIServer.Stop()
	impatient.Stop()
	if err == nil {
		err = s.guard.forget(pid)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.lastWords())
	}
	time.Sleep(away)
	if err := s.plane.APIServer.Start(); err != nil {
		return fmt.Errorf("%w\n%s", err, s.lastWords())
	}
	return nil
}

// Stop stops kube-apiserver and etcd, waits for their end, and removes all files of theirs. Another
// call returns what the first one did.
func (s *Server) Stop() error { return s.stop() }

func (s *Server) shutDown() error {
	err := s.plane.Stop()
	for _, log := range s.logs {
		err = errors.Join(err, log.Close())
	}
	if s.guard != nil {
		err = errors.Join(err, s.guard.dismiss(err == nil))
	}
	return errors.Join(err, os.RemoveAll(s.Dir))
}

func (s *Server) log(program string) (*os.File, error) {
	file, err := os.Create(filepath.Join(s.Dir, program+".log"))
	if err == nil {
		s.logs = append(s.logs, file)
	}
	return file, err
}

// lastWords are the ends of the logs.
func (s *Server) lastWords() string {
	const lines = 10
	var words strings.Builder
	for _, log := range s.logs {
		fmt.Fprintf(&words, "%s ends with:\n%s\n", filepath.Base(log.Name()), LastLines(log.Name(), lines))
	}
	return words.String()
}

// LastLines are the last lines of a file, or why it can't be read.
func LastLines(file string, lines int) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
