package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"mtls.egress/webhook/test/apiserver"
)

// component is a program that runs beside the tests, such as kube-apiserver.
type component struct {
	path string
	args []string
	log  string

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// start starts a program of the node for the first time.
func (c *Cluster) start(name string, args ...string) error {
	c.components[name] = &component{path: c.Program(name), args: args, log: filepath.Join(c.dir, name+".log")}
	return c.StartComponent(name)
}

// StartComponent starts a component that was stopped, with the arguments that it had. It doesn't
// wait for it to work.
func (c *Cluster) StartComponent(name string) error {
	started, ok := c.components[name]
	if !ok {
		return fmt.Errorf("no component %s: it isn't one of this cluster's, or the cluster is the one of KUBECONFIG", name)
	}
	log, err := os.OpenFile(started.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd := exec.Command(started.path, started.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(c.node, "bin")+":"+os.Getenv("PATH"))
	// A Ctrl-C ends the tests, which end the namespaces, which end the components.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := errors.Join(cmd.Start(), log.Close()); err != nil {
		return err
	}
	done := make(chan struct{})
	started.cmd, started.done = cmd, done
	go func() {
		// Why it ended is in its log.
		_ = cmd.Wait()
		close(done)
	}()
	return nil
}

// StopComponent stops a component and waits for its end.
func (c *Cluster) StopComponent(ctx context.Context, name string) error {
	running, ok := c.components[name]
	if !ok {
		return fmt.Errorf("no component %s: it isn't one of this cluster's, or the cluster is the one of KUBECONFIG", name)
	}
	if err := running.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-running.done:
		return nil
	case <-time.After(30 * time.Second):
	case <-ctx.Done():
	}
	err := running.cmd.Process.Kill()
	<-running.done
	return err
}

// alive says which component has ended by itself.
func (c *Cluster) alive() error {
	for name, component := range c.components {
		select {
		case <-component.done:
			return fmt.Errorf("%s has ended: %s", name, component.cmd.ProcessState)
		default:
		}
	}
	return nil
}

// lastWords are the ends of the components' logs.
func (c *Cluster) lastWords() error {
	const lines = 8
	var words []error
	for name, component := range c.components {
		words = append(words, fmt.Errorf("%s ends with:\n%s", name, apiserver.LastLines(component.log, lines)))
	}
	return errors.Join(words...)
}
