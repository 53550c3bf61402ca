package mesh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/scene"
)

// writtenByHand deploys an app with such a set, and returns it when its calls are answered.
func writtenByHand(t *testing.T, s *scene.Scene, namespace, exportTo, url string) (*corev1.Pod, scene.Credential) {
	t.Helper()
	made := credential(t, s, namespace, "by hand")
	must(t, s.Apply(t.Context(), scene.ByHand(namespace, exportTo)))
	must(t, s.Deploy(t.Context(), scene.App{
		Namespace:      namespace,
		Name:           "shop",
		PodAnnotations: scene.MountedByHand(),
		Loops:          []string{url},
		Args:           []string{"--pause", "20ms", "--timeout", "5s"},
	}))
	return calling(t, s, namespace, "shop"), made
}

// moreCalls waits until a loop has made n further calls.
func moreCalls(t *testing.T, s *scene.Scene, pod *corev1.Pod, url string, n int) caller.State {
	t.Helper()
	begun, err := s.Caller(pod).Loop(t.Context(), url)
	must(t, err)
	var now caller.State
	must(t, scene.Until(t.Context(), fmt.Sprintf("%d calls of %s", n, url), func(ctx context.Context) (err error) {
		if now, err = s.Caller(pod).Loop(ctx, url); err == nil && now.Calls-begun.Calls < n {
			err = fmt.Errorf("%d", now.Calls-begun.Calls)
		}
		return err
	}))
	return now
}

// TestAnEgressTargetLeavesAHandWrittenSetAlone: with exportTo "." Istio merges DestinationRules of
// one host, so objects of ours under the partner's host took the TLS from Pods that never asked.
func TestAnEgressTargetLeavesAHandWrittenSetAlone(t *testing.T) {
	// Not beside other tests: what is public for the host reaches their namespaces too.
	s := play(t)
	for name, exportTo := range map[string]string{"private": ".", "public": "*"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t, s)
			url := "http://" + host + "/beside-" + name
			pod, made := writtenByHand(t, s, ns, exportTo, url)
			must(t, s.Apply(t.Context(),
				"apiVersion: mtls.egress/v1alpha1\nkind: EgressTarget\nmetadata: {name: "+host+", namespace: "+ns+"}\nspec: {}\n"))
			_, _, err := s.Kubectl(t.Context(), "--namespace", ns, "wait", "--for=create",
				"virtualservice/mtls-egress-"+host, "--timeout=120s")
			must(t, err)
			if exportTo == "*" {
				_, _, err = s.Kubectl(t.Context(), "--namespace", ns, "wait", "--for=create",
					"serviceentry/mtls-egress-"+host, "--timeout=120s")
				must(t, err)
			}
			loop := moreCalls(t, s, pod, url, 200)
			onlyMutualTLS(t, "the Pod with the hand-written set", loop, made.Serial())
			neverPlain(t, summaryOf(fromPod(t, s, pod)), figures{
				Promise: "Only those who asked", Fault: "an EgressTarget is created beside a hand-written set, " + name,
				Requests: loop.Calls, Failed: loop.Calls - loop.ByOutcome["200"],
			})
		})
	}
}

// TestAHandWrittenSetIsAdoptedInAnyOrder annotates an app with a public hand-written set, and then
// deletes the objects of the set in each order.
func TestAHandWrittenSetIsAdoptedInAnyOrder(t *testing.T) {
	// Not beside other tests: what is public for the host reaches their namespaces too.
	s := play(t)
	for _, order := range [][]string{
		{"serviceentry", "virtualservice", "destinationrule"},
		{"destinationrule", "serviceentry", "virtualservice"},
		{"virtualservice", "destinationrule", "serviceentry"},
	} {
		name := strings.Join(order, ", ")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t, s)
			url := "http://" + host + "/adopted-" + ns
			old, made := writtenByHand(t, s, ns, "*", url)
			onlyMutualTLS(t, "before the annotation", moreCalls(t, s, old, url, 50), made.Serial())
			_, _, err := s.Kubectl(t.Context(), "--namespace", ns, "annotate", "deployment/shop", "mtls.egress/target="+host)
			must(t, err)
			must(t, s.Rollout(t.Context(), ns, "deployment/shop"))
			pod := calling(t, s, ns, "shop")
			for _, kind := range order {
				moreCalls(t, s, pod, url, 50)
				_, _, err := s.Kubectl(t.Context(), "--namespace", ns, "delete", kind+".networking.istio.io/by-hand")
				must(t, err)
			}
			_, _, err = s.Kubectl(t.Context(), "--namespace", ns, "wait", "--for=condition=Ready",
				"egresstarget/"+host, "--timeout=120s")
			must(t, err)
			loop := moreCalls(t, s, pod, url, 100)
			onlyMutualTLS(t, "the annotated Pod", loop, made.Serial())
			neverPlain(t, summaryOf(fromPod(t, s, pod)), figures{
				Promise: "Only those who asked", Fault: "a public hand-written set is adopted; deleted in the order " + name,
				Requests: loop.Calls, Failed: loop.Calls - loop.ByOutcome["200"],
			})
		})
	}
}

// TestAHostInUpperCase: musl compares /etc/hosts letter by letter, so such a call goes to the
// partner's own address, and only the sidecar blocks it.
func TestAHostInUpperCase(t *testing.T) {
	t.Parallel()
	s := play(t)
	ns := namespace(t, s)
	made := credential(t, s, ns, "upper case")
	pod := deployed(t, s, scene.App{
		Namespace:   ns,
		Name:        "shop",
		Annotations: scene.Target(host),
		Loops:       []string{"http://" + host + "/upper-case/loop"},
	})
	must(t, onceAnswered(t, s, pod))
	calls := 0
	for _, header := range []string{
		"External.System.Com", "EXTERNAL.SYSTEM.COM", "External.System.Com:80", "External.System.Com.",
	} {
		results := answered(t, s, pod, caller.Call{
			URL:     "http://" + s.PartnerAddress + "/upper-case/call",
			Headers: map[string]string{"Host": header},
			Timeout: caller.Duration(10 * time.Second),
		})
		calls += len(results)
	}
	connections := fromPod(t, s, pod)
	for _, connection := range connections {
		if connection.Client == nil || connection.Client.SerialNumber != made.Serial() {
			t.Errorf("the partner saw %+v, want the certificate %s", connection, made.Serial())
		}
	}
	neverPlain(t, summaryOf(connections),
		figures{Promise: "Never plaintext", Fault: "the host in upper case, at the partner's own address", Requests: calls})
}

func onceAnswered(t *testing.T, s *scene.Scene, pod *corev1.Pod) error {
	t.Helper()
	return scene.Until(t.Context(), "the target to answer", func(ctx context.Context) error {
		_, err := expect(ctx, s.Caller(pod), caller.Call{URL: "http://" + host + "/upper-case/first"}, "200")
		return err
	})
}

// TestSidecarsThatResolveHostsThemselves: with ALLOW_ANY_DYNAMIC_DNS a sidecar resolves the Host
// header of unknown hosts, so the sinkhole address doesn't matter. Pods wait for their target
// there. The mesh configuration is everybody's, so this one runs by itself.
func TestSidecarsThatResolveHostsThemselves(t *testing.T) {
	s := play(t)
	if !s.Own {
		skip(t, "changes the mesh configuration, which it doesn't do in the cluster of KUBECONFIG")
	}
	t.Cleanup(func() { must(t, s.ConfigureIstio(context.Background())) })
	must(t, s.ConfigureIstio(t.Context(), "meshConfig.outboundTrafficPolicy.mode="+cluster.AllowAnyDynamicDNS))
	ns := namespace(t, s)
	made := credential(t, s, ns, "dynamic")
	const dotted = "http://" + host + "./dynamic-dns"
	app := scene.App{
		Namespace:      ns,
		Name:           "shop",
		Kind:           "Pod",
		PodAnnotations: scene.Target(host),
		Loops:          []string{dotted},
		Args:           []string{"--timeout", "5s"},
	}
	must(
		t,
		scene.Until(t.Context(), "a Pod to be refused before its target is programmed", func(ctx context.Context) error {
			early := app
			early.Name = fmt.Sprintf("early-%d", time.Now().UnixNano()&0xffffff)
			err := s.Deploy(ctx, early)
			if err == nil {
				_, _, err := s.Kubectl(ctx, "--namespace", ns, "delete", "pod", early.Name, "--grace-period=0", "--force")
				return errors.Join(errors.New("it was admitted"), err)
			}
			if !strings.Contains(err.Error(), "is not programmed yet") {
				return err
			}
			return nil
		}),
	)
	must(t, s.ProgramTargets(t.Context(), ns, host))
	must(t, s.Deploy(t.Context(), app))
	pod := calling(t, s, ns, "shop")
	loop := moreCalls(t, s, pod, dotted, 50)
	onlyMutualTLS(t, "the host with a trailing dot", loop, made.Serial())
	neverPlain(t, summaryOf(fromPod(t, s, pod)), figures{
		Promise:  "Never plaintext",
		Fault:    "ALLOW_ANY_DYNAMIC_DNS, the host with a trailing dot from the first moment of a Pod",
		Requests: loop.Calls,
		Failed:   loop.Calls - loop.ByOutcome["200"],
	})
}
