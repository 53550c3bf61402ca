// Command kube is every Kubernetes program of the tests in one binary, as the programs share nearly
// all of their code: it runs the one whose name it was started by, through a symbolic link such as
// kube-apiserver.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // as upstream's kube-apiserver: time zones of CronJobs

	_ "k8s.io/client-go/plugin/pkg/client/auth" // as upstream's kubectl: credential plugins
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(run(filepath.Base(os.Args[0])))
}

func run(program string) int {
	switch program {
	case "kube-apiserver":
		return cli.Run(apiserver.NewAPIServerCommand())
	case "kubectl":
		kubectlutil.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
		return 0
	default:
		fmt.Fprintf(os.Stderr,
			"%s: no such program in this binary: start it through a link named kube-apiserver or kubectl\n", program)
		return 2
	}
}
