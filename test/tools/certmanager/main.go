// Command certmanager is cert-manager's controller, webhook and CA injector in one binary, as they
// share nearly all of their code: it runs the one whose name it was started by, through a symbolic
// link such as cert-manager-controller. Upstream's main packages are modules that are never
// released:
// https://github.com/cert-manager/cert-manager/tree/v1.21.2/cmd.
//
// What is left out are the issuers but for CA and SelfSigned, the shims of Ingress and Gateway,
// leader election and the servers of health and metrics. Nothing listens elsewhere than on the
// loopback interface.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	logf "github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// program adds its flags to the set and returns what runs it until the context ends, once the flags
// are parsed.
type program func(flags *pflag.FlagSet) (run func(ctx context.Context) error, err error)

func main() {
	logf.InitLogs()
	ctrl.SetLogger(logf.Log)
	ctx, stop := signal.NotifyContext(logf.NewContext(context.Background(), logf.Log), os.Interrupt, syscall.SIGTERM)
	err := start(ctx, filepath.Base(os.Args[0]), os.Args[1:])
	stop()
	logf.FlushLogs()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func start(ctx context.Context, name string, args []string) error {
	program, known := map[string]program{
		"cert-manager-controller": controllerProgram,
		"cert-manager-webhook":    webhookProgram,
		"cert-manager-cainjector": cainjectorProgram,
	}[name]
	if !known {
		return fmt.Errorf(
			"%s: no such program in this binary: start it through a link named cert-manager-controller, cert-manager-webhook "+
				"or cert-manager-cainjector",
			name,
		)
	}
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	run, err := program(flags)
	if err != nil {
		return err
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	var logging flag.FlagSet
	klog.InitFlags(&logging)
	if err := logging.Set("v", strconv.Itoa(logf.InfoLevel)); err != nil { // as the chart has it
		return err
	}
	if err := run(ctx); ctx.Err() == nil {
		return err
	}
	return nil // told to end, which a controller that hasn't filled its caches yet calls an error
}
