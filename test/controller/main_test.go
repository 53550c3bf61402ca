// Package controller holds the tests of the controller on a real API server: what brings forth
// what, in which order it is written and removed, and what is left alone. There is no kubelet, no
// garbage collector and no webhook: Pods are created as the webhook leaves them, and everything
// that goes is removed by the controller itself. The real cert-manager runs beside a server of its
// own, in one test.
package controller

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
)

// The parts of the chart that the controller needs: its CRD, and the rights that it runs with in
// every test here.
const (
	chart   = "../../charts/mtls-egress-webhook"
	crdFile = chart + "/files/crds/mtls.egress_egresstargets.yaml"
	rights  = "templates/rbac-controller.yaml"
	// roleFile has the rights that are generated from markers in the code, without those that the
	// chart adds.
	roleFile = chart + "/files/rbac/role.yaml"
)

// user is whom the controller runs as. The chart binds the rights to it, and nothing else is.
const user = "system:serviceaccount:mtls-egress:mtls-egress-webhook-controller"

// server is shared by the tests of this package, which use a namespace each. It has no
// cert-manager.
var server *apiserver.Server

func TestMain(m *testing.M) {
	if err := run(context.Background(), m); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, m *testing.M) error {
	var err error
	if server, err = apiserver.Start(ctx, apiserver.Options{}); err != nil {
		return err
	}
	code, err := runOn(ctx, m)
	if stopErr := server.Stop(); err == nil {
		err = stopErr
	}
	if err == nil && code != 0 {
		err = errors.New("tests failed")
	}
	return err
}

func runOn(ctx context.Context, m *testing.M) (int, error) {
	if err := install(ctx, server); err != nil {
		return 0, err
	}
	code := m.Run()
	// A choice of tests uses a choice of rights.
	if code != 0 || flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.skip").Value.String() != "" {
		return code, nil
	}
	served, _, err := server.Kubectl(ctx, "api-resources", "--output=name")
	if err != nil {
		return code, err
	}
	return code, used.checkAllUsed(roleFile, strings.Fields(served))
}

// install puts what the controller needs on a server.
func install(ctx context.Context, server *apiserver.Server) error {
	istio, err := apiserver.IstioCRDs(ctx)
	if err != nil {
		return err
	}
	role, err := chartRights(ctx, server)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "--filename", istio, "--filename", crdFile, "--filename", role},
		{
			"wait", "--for=condition=Established", "--timeout=" + await.Patience.String(),
			"--filename", istio, "--filename", crdFile,
		},
	} {
		if _, _, err := server.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return aggregateView(ctx, server)
}

// aggregateView writes the rules of the ClusterRole view, as kube-controller-manager does: those of
// all ClusterRoles with the label for it.
func aggregateView(ctx context.Context, server *apiserver.Server) error {
	admin, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		return err
	}
	roles := admin.RbacV1().ClusterRoles()
	parts, err := roles.List(ctx, metav1.ListOptions{LabelSelector: "rbac.authorization.k8s.io/aggregate-to-view=true"})
	if err != nil {
		return err
	}
	view, err := roles.Get(ctx, "view", metav1.GetOptions{})
	if err != nil {
		return err
	}
	view.Rules = nil
	for _, part := range parts.Items {
		view.Rules = append(view.Rules, part.Rules...)
	}
	_, err = roles.Update(ctx, view, metav1.UpdateOptions{})
	return err
}

// chartRights writes the rights of the controller, as the chart renders them, into a file that goes
// with the server.
func chartRights(ctx context.Context, server *apiserver.Server) (file string, err error) {
	manifests, _, err := server.Helm(ctx, "template", "mtls-egress-webhook", chart,
		"--namespace", "mtls-egress", "--set", "image.repository=mtls-egress-webhook", "--show-only", rights)
	if err != nil {
		return "", err
	}
	file = filepath.Join(server.Dir, "rights.yaml")
	return file, os.WriteFile(file, []byte(manifests), 0o600)
}
