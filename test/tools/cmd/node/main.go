// Command node is every program that makes a machine a Kubernetes node, and the controllers of the
// control plane, in one binary, as they share nearly all of their code: it runs the one whose name
// it was started by, through a symbolic link such as kubelet. The API server and kubectl are in a
// binary of their own (cmd/kube), as most tests need nothing more.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // as upstream's: time zones of CronJobs

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	os.Exit(run(filepath.Base(os.Args[0])))
}

func run(program string) int {
	switch program {
	case "kube-controller-manager":
		return cli.Run(controllers.NewControllerManagerCommand())
	case "kube-scheduler":
		return cli.Run(scheduler.NewSchedulerCommand())
	case "kube-proxy":
		return cli.Run(proxy.NewProxyCommand())
	case "kubelet":
		// The command handles signals itself: it would panic on a context that does so too ("close of
		// closed channel").
		return cli.Run(kubelet.NewKubeletCommand(context.Background()))
	default:
		fmt.Fprintf(
			os.Stderr,
			"%s: no such program in this binary: start it through a link named kube-controller-manager, kube-scheduler, "+
				"kube-proxy or kubelet\n",
			program,
		)
		return 2
	}
}
