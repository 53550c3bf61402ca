package mesh

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
	explaining "mtls.egress/webhook/internal/explain"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/pki"
	"mtls.egress/webhook/test/scene"
)

// explained is a fault on the mesh, and what the command explain must say about it.
type explained struct {
	// make makes the fault in the namespace, for the app shop.
	make func(t *testing.T, s *scene.Scene, ns string)
	// subject is what is explained. Default: deploy/shop.
	subject []string
	cause   explaining.Cause
	// also is the cause of another fault that explain must tell, or "".
	also explaining.Cause
}

// explainedFaults are faults that tests in parallel can make, each in its namespace.
func explainedFaults() map[string]explained {
	const unknownName, misspelled = "api.nowhere.invalid", "external.sytem.com"
	return map[string]explained{
		"all is well": {make: func(t *testing.T, s *scene.Scene, ns string) {
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, nil)
		}},
		"the namespace has no " +
			"injection": {cause: explaining.NamespaceNotInjected, make: func(t *testing.T, s *scene.Scene, ns string) {
			labelNamespace(t, s, ns, "istio-injection-")
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, nil)
		}},
		"the Pod is older than the label of the " +
			"namespace": {cause: explaining.NoSidecar, make: func(t *testing.T, s *scene.Scene, ns string) {
			labelNamespace(t, s, ns, "istio-injection-")
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, nil)
			running(t, s, ns)
			labelNamespace(t, s, ns, "istio-injection=enabled")
		}},
		"the namespace becomes ambient": {cause: explaining.AmbientMode, make: func(t *testing.T, s *scene.Scene, ns string) {
			labelNamespace(t, s, ns, "istio-injection-")
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, nil)
			running(t, s, ns)
			labelNamespace(t, s, ns, "istio.io/dataplane-mode=ambient")
		}},
		"the Secret is missing": {cause: explaining.SecretMissing, make: func(t *testing.T, s *scene.Scene, ns string) {
			shop(t, s, ns, host, nil)
		}},
		"the key is another's": {cause: "PrivateKeyMismatch", make: func(t *testing.T, s *scene.Scene, ns string) {
			made, err := s.Credential("shop")
			must(t, err)
			other, err := s.Credential("other")
			must(t, err)
			data := made.Data(scene.LayoutCert)
			data["key"] = other.KeyPEM
			must(t, s.WriteSecret(t.Context(), ns, secretName, data))
			shop(t, s, ns, host, nil)
		}},
		"the certificate has expired": {cause: "CertificateExpired", make: func(t *testing.T, s *scene.Scene, ns string) {
			template := pki.Client("shop")
			template.NotAfter = time.Now().Add(-time.Hour)
			presents(t, s, ns, s.ClientCA, template, s.ServerCA)
			shop(t, s, ns, host, nil)
		}},
		"the keys of the Secret have other " +
			"names": {cause: "LayoutUnknown", make: func(t *testing.T, s *scene.Scene, ns string) {
			must(t, s.WriteSecret(t.Context(), ns, secretName, map[string][]byte{"client.pem": []byte("x")}))
			shop(t, s, ns, host, nil)
		}},
		"the CA of the server is " +
			"another": {cause: explaining.ServerNotTrusted, make: func(t *testing.T, s *scene.Scene, ns string) {
			presents(t, s, ns, s.ClientCA, pki.Client("shop"), stranger(t))
			shop(t, s, ns, host, nil)
		}},
		"the partner refuses the " +
			"certificate": {cause: explaining.ConnectionEnded, make: func(t *testing.T, s *scene.Scene, ns string) {
			presents(t, s, ns, stranger(t), pki.Client("shop"), s.ServerCA)
			shop(t, s, ns, host, nil)
		}},
		"the partner refuses the handshake of the " +
			"controller": {cause: "IssuerNotAccepted", make: func(t *testing.T, s *scene.Scene, ns string) {
			must(t, s.Apply(t.Context(), fmt.Sprintf(
				"{apiVersion: mtls.egress/v1alpha1, kind: EgressTarget, metadata: {name: %s, namespace: %s}, spec: {verify: true}}",
				host, ns)))
			presents(t, s, ns, stranger(t), pki.Client("shop"), s.ServerCA)
			shop(t, s, ns, host, nil)
		}},
		"the partner has another " +
			"name": {cause: explaining.ServerNameMismatch, make: func(t *testing.T, s *scene.Scene, ns string) {
			made, err := s.Credential("shop")
			must(t, err)
			must(t, s.WriteSecret(t.Context(), ns, egress.DefaultSecretName(scene.OtherName), made.Data(scene.LayoutCert)))
			shop(t, s, ns, scene.OtherName, nil)
		}},
		"the partner is too slow": {cause: explaining.PartnerTimedOut, make: func(t *testing.T, s *scene.Scene, ns string) {
			must(t, s.Apply(t.Context(), fmt.Sprintf("{apiVersion: mtls.egress/v1alpha1, kind: EgressTarget, metadata: "+
				"{name: %s, namespace: %s}, spec: {http: {timeout: 500ms}}}", host, ns)))
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, func(app *scene.App) { app.Loops = []string{"http://" + host + "/explain/slow?delay=5s"} })
		}},
		"the partner's port is " +
			"closed": {cause: explaining.ConnectionRefused, make: func(t *testing.T, s *scene.Scene, ns string) {
			credential(t, s, ns, "shop")
			shop(t, s, ns, host+":444", func(app *scene.App) { app.Loops = []string{"http://" + host + "/explain/closed"} })
		}},
		"the name doesn't exist": {cause: explaining.HostNotResolved, make: func(t *testing.T, s *scene.Scene, ns string) {
			made, err := s.Credential("shop")
			must(t, err)
			must(t, s.WriteSecret(t.Context(), ns, egress.DefaultSecretName(unknownName), made.Data(scene.LayoutCert)))
			shop(t, s, ns, unknownName, nil)
		}},
		"the host is misspelled": {
			cause: explaining.HostNotResolved, also: explaining.HostMisspelled,
			make: func(t *testing.T, s *scene.Scene, ns string) {
				made, err := s.Credential("shop")
				must(t, err)
				must(t, s.WriteSecret(t.Context(), ns, egress.DefaultSecretName(misspelled), made.Data(scene.LayoutCert)))
				shop(t, s, ns, misspelled, func(app *scene.App) { app.Loops = []string{"http://" + host + "/explain/misspelled"} })
			},
		},
		"another host is asked about": {
			cause: explaining.HostNotRequested, subject: []string{"deploy/shop", "--target", misspelled},
			make: func(t *testing.T, s *scene.Scene, ns string) {
				credential(t, s, ns, "shop")
				shop(t, s, ns, host, nil)
			},
		},
		"the app calls https": {cause: explaining.AppCallsHTTPS, make: func(t *testing.T, s *scene.Scene, ns string) {
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, func(app *scene.App) { app.Loops = []string{"https://" + host + "/explain/https"} })
		}},
		"the app calls another " +
			"port": {cause: explaining.AppCallsOtherPort, make: func(t *testing.T, s *scene.Scene, ns string) {
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, func(app *scene.App) { app.Loops = []string{"http://" + host + ":8080/explain/port"} })
		}},
		"nothing is annotated": {cause: explaining.NotAnnotated, make: func(t *testing.T, s *scene.Scene, ns string) {
			shop(t, s, ns, "", nil)
		}},
		"the Pod is older than the " +
			"annotation": {cause: explaining.PodOutdated, make: func(t *testing.T, s *scene.Scene, ns string) {
			shop(t, s, ns, "", nil)
			running(t, s, ns)
			kubectl(t, s, ns, "rollout", "pause", "deployment/shop")
			kubectl(t, s, ns, "annotate", "deployment/shop", egress.AnnotationTarget+"="+host)
		}},
		"another VirtualService is older": {cause: "PlaintextPossible", make: func(t *testing.T, s *scene.Scene, ns string) {
			// Of two of the same second, Istio prefers the one whose name comes first.
			must(t, s.Apply(t.Context(), fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: earlier, namespace: %s}
spec:
  hosts: [%s]
  exportTo: ["."]
  http: [{route: [{destination: {host: %[2]s, port: {number: 80}}}]}]
`, ns, host)))
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, nil)
		}},
		"a Sidecar hides the objects": {cause: explaining.Conflict, make: func(t *testing.T, s *scene.Scene, ns string) {
			must(t, s.Apply(t.Context(), fmt.Sprintf("{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: "+
				"{name: default, namespace: %s}, spec: {egress: [{hosts: [istio-system/*]}]}}", ns)))
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, nil)
		}},
		"another Secret is asked for": {cause: explaining.PodsOutdated, make: func(t *testing.T, s *scene.Scene, ns string) {
			made := credential(t, s, ns, "shop")
			shop(t, s, ns, host, nil)
			running(t, s, ns)
			must(t, s.WriteSecret(t.Context(), ns, "other", made.Data(scene.LayoutCert)))
			must(t, s.Apply(t.Context(), fmt.Sprintf("{apiVersion: mtls.egress/v1alpha1, kind: EgressTarget, metadata: "+
				"{name: %s, namespace: %s}, spec: {credential: {secretName: other}}}", host, ns)))
		}},
		"the sidecar has the files of before": {
			cause: explaining.RotationBehind,
			make: func(t *testing.T, s *scene.Scene, ns string) {
				credential(t, s, ns, "shop")
				// The kubelet doesn't look at an immutable Secret again.
				kubectl(t, s, ns, "patch", "secret", secretName, "--type=merge", `--patch={"immutable":true}`)
				shop(t, s, ns, host, nil)
				explained{}.found(t, s, ns)
				kubectl(t, s, ns, "delete", "secret", secretName)
				credential(t, s, ns, "shop")
			},
		},
		"the sidecar could not load the files": {
			cause: explaining.FilesNotSupplied,
			make: func(t *testing.T, s *scene.Scene, ns string) {
				other, err := s.Credential("other")
				must(t, err)
				data := credential(t, s, ns, "shop").Data(scene.LayoutCert)
				data["key"] = other.KeyPEM
				must(t, s.WriteSecret(t.Context(), ns, secretName, data))
				kubectl(t, s, ns, "patch", "secret", secretName, "--type=merge", `--patch={"immutable":true}`)
				shop(t, s, ns, host, nil)
				running(t, s, ns)
				kubectl(t, s, ns, "delete", "secret", secretName)
				credential(t, s, ns, "shop")
			},
		},
		"the sidecar doesn't reach istiod": {
			cause: explaining.IstiodNotReached,
			make: func(t *testing.T, s *scene.Scene, ns string) {
				credential(t, s, ns, "shop")
				shop(t, s, ns, host, func(app *scene.App) {
					app.PodAnnotations = map[string]string{
						"proxy.istio.io/config": "discoveryAddress: istiod.nowhere.svc:15012",
					}
				})
			},
		},
		"the EgressTarget doesn't exist": {
			cause: explaining.EgressTargetMissing, subject: []string{"egt/" + host},
			make: func(*testing.T, *scene.Scene, string) {},
		},
		"no Pod asks for the EgressTarget": {
			cause: explaining.NoPods, subject: []string{"egt/" + host},
			make: func(t *testing.T, s *scene.Scene, ns string) {
				must(t, s.Apply(t.Context(), fmt.Sprintf(
					"{apiVersion: mtls.egress/v1alpha1, kind: EgressTarget, metadata: {name: %s, namespace: %s}}", host, ns)))
			},
		},
		"the workload has 0 replicas": {cause: explaining.NoPods, make: func(t *testing.T, s *scene.Scene, ns string) {
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, nil)
			kubectl(t, s, ns, "scale", "deployment/shop", "--replicas=0")
		}},
		"a quota refuses the Pods": {cause: explaining.PodRefused, make: func(t *testing.T, s *scene.Scene, ns string) {
			must(t, s.Apply(t.Context(), fmt.Sprintf(
				"{apiVersion: v1, kind: ResourceQuota, metadata: {name: none, namespace: %s}, spec: {hard: {pods: 0}}}", ns)))
			shop(t, s, ns, host, nil)
		}},
		"the Pod has no node": {cause: explaining.PodNotScheduled, make: func(t *testing.T, s *scene.Scene, ns string) {
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, func(app *scene.App) {
				app.Spec = func(spec *corev1.PodSpec) { spec.NodeSelector = map[string]string{"nowhere": "true"} }
			})
		}},
		"a volume of the app is " +
			"missing": {cause: explaining.VolumeNotMounted, make: func(t *testing.T, s *scene.Scene, ns string) {
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, func(app *scene.App) {
				app.Spec = func(spec *corev1.PodSpec) {
					spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
						ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "nowhere"}},
					}})
					spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
				}
			})
		}},
		"the image of the sidecar doesn't " +
			"exist": {cause: explaining.SidecarNotStarted, make: func(t *testing.T, s *scene.Scene, ns string) {
			credential(t, s, ns, "shop")
			shop(t, s, ns, host, func(app *scene.App) {
				app.PodAnnotations = map[string]string{"sidecar.istio.io/proxyImage": "registry.local/nowhere:1"}
			})
		}},
	}
}

// TestExplainNamesTheCause makes faults on the mesh, one in each namespace, and asks the command.
// It logs how long the result took.
func TestExplainNamesTheCause(t *testing.T) {
	t.Parallel()
	s := play(t)
	for name, fault := range explainedFaults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t, s)
			fault.make(t, s, ns)
			fault.found(t, s, ns)
		})
	}
}

// TestExplainNamesTheController stops the controllers, which all namespaces share.
func TestExplainNamesTheController(t *testing.T) {
	s := play(t)
	ns, broken := namespace(t, s), unprotectedNamespace(t, s)
	credential(t, s, ns, "shop")
	credential(t, s, broken, "shop")
	shop(t, s, broken, host, nil)
	explained{}.found(t, s, broken)
	start := stopDeployment(t, s, scene.Namespace, scene.Controller)
	shop(t, s, ns, host, nil)
	explained{cause: explaining.ControllerDown}.found(t, s, ns)
	kubectl(t, s, broken, "delete", "destinationrule", egress.ObjectName(host))
	explained{cause: explaining.ObjectsMissing}.found(t, s, broken)
	start()
	explained{}.found(t, s, ns)
	explained{}.found(t, s, broken)
}

// found waits until explain names the cause.
func (e explained) found(t *testing.T, s *scene.Scene, ns string) {
	t.Helper()
	subject := e.subject
	if subject == nil {
		subject = []string{"deploy/shop"}
	}
	var took time.Duration
	var last explaining.Report
	must(t, scene.Until(t.Context(), "the cause "+string(e.cause), func(ctx context.Context) (err error) {
		begun := time.Now()
		last, err = explainLive(ctx, s, ns, subject)
		took = time.Since(begun)
		told := e.also == "" || len(last.Also) > 0 && last.Also[0].Cause == e.also
		if err == nil && (last.Result.Cause != e.cause || !told) {
			err = fmt.Errorf("the result is\n%s", last.Text(false))
		}
		// Of a Pod that works, all is known after its first call.
		if err == nil && e.cause == "" && strings.Contains(last.Result.Sentence, "not known") {
			err = errors.New(last.Text(false))
		}
		return err
	}))
	t.Logf("%s after %.2f s:\n%s", e.cause, took.Seconds(), last.Text(false))
}

// TestABundleOfAPodHasNoKey writes a bundle of a Pod whose calls succeed.
func TestABundleOfAPodHasNoKey(t *testing.T) {
	t.Parallel()
	s := play(t)
	ns := namespace(t, s)
	made := credential(t, s, ns, "shop")
	shop(t, s, ns, host, nil)
	explained{}.found(t, s, ns)
	path := filepath.Join(t.TempDir(), "support.tar.gz")
	_, err := explainLive(t.Context(), s, ns, []string{"deploy/shop", "--bundle", path})
	must(t, err)
	unpacked, err := exec.CommandContext(t.Context(), "tar", "-xzOf", path).Output()
	must(t, err)
	key := strings.Split(strings.TrimSpace(string(made.KeyPEM)), "\n")[1]
	for what, secret := range map[string]string{
		"the key": key, "the key in base64": base64.StdEncoding.EncodeToString(made.KeyPEM)[:60],
	} {
		if bytes.Contains(unpacked, []byte(secret)) {
			t.Errorf("%s is in the bundle", what)
		}
	}
	for _, part := range []string{made.Serial(), "istio-init", "mtls-egress--app." + host} {
		if !bytes.Contains(unpacked, []byte(part)) {
			t.Errorf("the bundle lacks %s", part)
		}
	}
}

// explainLive runs the released program as a user would.
func explainLive(ctx context.Context, s *scene.Scene, ns string, subject []string) (explaining.Report, error) {
	program := filepath.Join(s.Dir, "test", scene.Release)
	cmd := exec.CommandContext(ctx, program, append(append([]string{"explain"}, subject...), "-n", ns, "-o", "json")...)
	cmd.Env = apiserver.Environment(s.Kubeconfig, s.Dir)
	stdout, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return explaining.Report{}, fmt.Errorf("%w: %s", err, stderrOf(exit))
	}
	var printed struct{ Reports []explaining.Report }
	if err := json.Unmarshal(stdout, &printed); err != nil {
		return explaining.Report{}, err
	}
	if len(printed.Reports) != 1 {
		return explaining.Report{}, fmt.Errorf("%d reports", len(printed.Reports))
	}
	found := printed.Reports[0].Found()
	if found != (exit != nil) {
		return explaining.Report{}, fmt.Errorf("a cause was found: %t, and the exit code is another's: %w", found, err)
	}
	return printed.Reports[0], nil
}

func stderrOf(exit *exec.ExitError) []byte {
	if exit == nil {
		return nil
	}
	return exit.Stderr
}

// shop deploys the app that the faults are about. Without a target, it isn't annotated.
func shop(t *testing.T, s *scene.Scene, ns, target string, change func(*scene.App)) {
	t.Helper()
	app := scene.App{Namespace: ns, Name: "shop", Args: []string{"--timeout", "3s"}}
	if target != "" {
		name, _, _ := strings.Cut(target, ":")
		app.Annotations, app.Loops = scene.Target(target), []string{"http://" + name + "/explain/" + ns}
	}
	if change != nil {
		change(&app)
	}
	must(t, s.Deploy(t.Context(), app))
}

func running(t *testing.T, s *scene.Scene, ns string) {
	t.Helper()
	_, err := s.Pod(t.Context(), ns, "shop")
	must(t, err)
}

func kubectl(t *testing.T, s *scene.Scene, ns string, args ...string) {
	t.Helper()
	_, _, err := s.Kubectl(t.Context(), append([]string{"--namespace", ns}, args...)...)
	must(t, err)
}

// presents writes the Secret with a certificate of an issuer and the CA of a server.
func presents(t *testing.T, s *scene.Scene, ns string, issuer *pki.CA, template pki.Template, server *pki.CA) {
	t.Helper()
	pair, err := issuer.Sign(template)
	must(t, err)
	data := scene.Credential{Pair: pair, ServerCA: server.CertPEM}.Data(scene.LayoutCert)
	must(t, s.WriteSecret(t.Context(), ns, secretName, data))
}

func stranger(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.Authority("Another CA")
	must(t, err)
	return ca
}
