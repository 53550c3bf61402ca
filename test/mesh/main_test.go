package mesh

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/scene"
)

// parallel is how many tests run at a time when -parallel doesn't say: they mostly wait for Pods.
// With four, a machine of two cores is now and then too slow for a name or a call.
const parallel = "3"

// host is the target of most tests.
const host = "external.system.com"

func TestMain(m *testing.M) { os.Exit(cluster.Isolate(func() int { return run(m) })) }

func run(m *testing.M) int {
	flag.Parse()
	limited := false
	flag.Visit(func(f *flag.Flag) { limited = limited || f.Name == "test.parallel" })
	if !limited {
		if err := flag.Set("test.parallel", parallel); err != nil {
			fmt.Fprintln(os.Stderr, "test/mesh:", err)
			return 1
		}
	}
	if reason := cluster.Unavailable(); reason != "" {
		fmt.Fprintln(os.Stderr, "test/mesh: all tests are skipped:", reason)
	}
	code := m.Run()
	if err := errors.Join(end(), counted.publish(code == 0)); err != nil {
		fmt.Fprintln(os.Stderr, "test/mesh:", err)
		return max(code, 1)
	}
	return code
}

// begun is the scene of all tests, made for the first one that asks.
var begun struct {
	sync.Mutex
	*scene.Scene
	// exempt are the names in the chart's value policy.exemptNamespaces that no test has used yet.
	// They have to be known when the chart is installed.
	exempt []string
	err    error
}

// core are the tests that -short plays: each promise to apps once, in little more time than the
// cluster takes to start. make test plays them on a cluster with IPv6 addresses only.
func core() []string {
	return []string{
		"TestANeighborKeepsItsBehavior",
		"TestOwnHTTPSIsUntouched",
		"TestTheFirstPodOfATarget",
		"TestTheSinkholeRangeIsOfTheOtherFamily",
		"TestWhoDidNotAskIsSeenInPlainText",
	}
}

// overIPv6 are the tests that are played on a cluster with IPv6 addresses only.
func overIPv6() []string {
	return append(core(),
		"TestAHandWrittenSetIsAdoptedInAnyOrder",
		"TestAdoptReplacesAHandWrittenSetAndBack",
		"TestAnEgressTargetLeavesAHandWrittenSetAlone",
		"TestEveryFormOfWorkload",
		"TestEveryStateOfTheObjects",
		"TestExplainNamesTheController",
	)
}

// applyIn applies manifests that lack the namespace. An empty one is left out.
func applyIn(t *testing.T, s *scene.Scene, namespace string, manifests ...string) {
	t.Helper()
	for _, manifest := range manifests {
		if manifest != "" {
			must(t, s.Apply(t.Context(), fmt.Sprintf(manifest, namespace)))
		}
	}
}

// ofFamily returns the one of the cluster's address family.
func ofFamily(ipv4, ipv6 string) string {
	if cluster.IPv6() {
		return ipv6
	}
	return ipv4
}

// exemptNamespaces is how many tests can have an unprotected namespace, with room for -count.
const exemptNamespaces = 64

// play returns the scene.
func play(t *testing.T) *scene.Scene {
	t.Helper()
	if reason := cluster.Unavailable(); reason != "" {
		skip(t, reason)
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	if testing.Short() && !slices.Contains(core(), name) {
		t.Skip("-short plays the core only")
	}
	if cluster.IPv6() && !slices.Contains(overIPv6(), name) {
		t.Skip("isn't played on a cluster with IPv6 addresses only")
	}
	mesh, err := cluster.SelectedMesh()
	must(t, err)
	if reason := leftOut(mesh, name); reason != "" {
		t.Skip(reason)
	}
	begun.Lock()
	defer begun.Unlock()
	if begun.Scene == nil && begun.err == nil {
		begin := time.Now()
		for number := range exemptNamespaces {
			begun.exempt = append(begun.exempt, fmt.Sprintf("unprotected-%d-%x", number, begin.UnixNano()&0xfff))
		}
		values := []string{
			"controller.verifyTargets=marked", "policy.allowedEndpoints={*.*.svc.cluster.local}",
			"policy.exemptNamespaces={" + strings.Join(begun.exempt, ",") + "}",
		}
		// Not the context of the first test, which ends before the others begin.
		begun.Scene, begun.err = scene.Start(context.Background(), scene.Options{Values: values, Say: func(step string) {
			fmt.Fprintf(os.Stderr, "test/mesh: %5.1fs %s\n", time.Since(begin).Seconds(), step)
		}})
		fmt.Fprintf(os.Stderr, "test/mesh: %5.1fs ready\n", time.Since(begin).Seconds())
	}
	if begun.err != nil {
		t.Fatal(begun.err)
	}
	return begun.Scene
}

func end() error {
	begun.Lock()
	defer begun.Unlock()
	if begun.Scene == nil {
		return nil
	}
	return begun.Remove(context.Background())
}

// must ends the test when there is an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// namespace creates a namespace for the test, named after it, and deletes it at its end.
func namespace(t *testing.T, s *scene.Scene) string {
	t.Helper()
	name := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, strings.TrimPrefix(t.Name(), "Test")), "-")
	name = strings.Trim(name[:min(len(name), 56)], "-") + fmt.Sprintf("-%x", time.Now().UnixNano()&0xfff)
	createNamespace(t, s, name)
	return name
}

// unprotectedNamespace is namespace with both keys that let anybody change the generated objects.
func unprotectedNamespace(t *testing.T, s *scene.Scene) string {
	t.Helper()
	begun.Lock()
	left := begun.exempt
	begun.exempt = left[min(1, len(left)):]
	begun.Unlock()
	if len(left) == 0 {
		t.Fatalf("all %d namespaces that the chart exempts are used", exemptNamespaces)
	}
	createNamespace(t, s, left[0])
	_, _, err := s.Kubectl(t.Context(), "label", "namespace", left[0], "mtls.egress/protection=off")
	must(t, err)
	return left[0]
}

func createNamespace(t *testing.T, s *scene.Scene, name string) {
	t.Helper()
	must(t, s.CreateNamespace(t.Context(), name))
	t.Cleanup(func() {
		if t.Failed() {
			explain(t, s, name)
		}
		if err := s.DeleteNamespace(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
}

// explain logs what a person would look at first in the namespace of a failed test.
func explain(t *testing.T, s *scene.Scene, namespace string) {
	for _, args := range [][]string{
		{"get", "pods,egresstargets,serviceentries,virtualservices,destinationrules", "--output", "wide"},
		{"get", "events", "--sort-by", ".lastTimestamp"},
	} {
		stdout, stderr, err := s.Kubectl(context.Background(), append(args, "--namespace", namespace)...)
		if err != nil {
			t.Log(err)
		}
		t.Logf("kubectl %s\n%s%s", strings.Join(args, " "), stdout, stderr)
	}
}

// credential writes a Secret with a new client certificate, named as the default for host, and
// returns the certificate.
func credential(t *testing.T, s *scene.Scene, namespace, commonName string) scene.Credential {
	t.Helper()
	made, err := s.Credential(commonName)
	must(t, err)
	must(t, s.WriteSecret(t.Context(), namespace, "external-system-mtls-data", made.Data(scene.LayoutCert)))
	return made
}

// hasCondition waits until a condition of an EgressTarget has its status and reason.
func hasCondition(
	ctx context.Context, s *scene.Scene, namespace, host, kind string, want metav1.ConditionStatus, reason string,
) error {
	return scene.Until(ctx, "the condition "+kind, func(ctx context.Context) error {
		egressTarget, err := s.EgressTarget(ctx, namespace, host)
		if err != nil {
			return err
		}
		condition := meta.FindStatusCondition(egressTarget.Status.Conditions, kind)
		if condition == nil || condition.Status != want || condition.Reason != reason {
			return fmt.Errorf("it is %+v, and must be %s with the reason %s", condition, want, reason)
		}
		return nil
	})
}

// seen asks the partner for what came to a path, or from a Pod.
func seen(t *testing.T, s *scene.Scene, filter partner.Filter) partner.Summary {
	t.Helper()
	summary, err := s.Partner().Summary(t.Context(), filter)
	must(t, err)
	return summary
}
