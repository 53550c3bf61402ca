package controller

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/policy"
)

// Sinkhole addresses lead nowhere. The range of the test is one that no other test uses.
func TestAControllerDoesNotStartWhereANodeHasSinkholeAddresses(t *testing.T) {
	w := newWorld(t)
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec:       corev1.NodeSpec{PodCIDR: "100.64.5.0/24", PodCIDRs: []string{"100.64.5.0/24"}},
	}
	w.create(node)
	sinkhole, err := egress.ParseSinkhole([]string{"100.64.0.0/10"})
	if err != nil {
		t.Fatal(err)
	}
	manager, err := ctrl.NewManager(w.server.Config, ctrl.Options{
		Scheme: scheme(w), Cache: informers.Options(sinkhole), Logger: quiet(w),
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = controller.Setup(t.Context(), manager, controller.Options{
		Policy: &policy.Cluster{Other: policy.OtherAllow, Sinkhole: sinkhole},
	})
	want := "the Pod range of the node " + node.Name + " has the addresses 100.64.5.0/24, " +
		"in the sinkhole range 100.64.0.0/10"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
