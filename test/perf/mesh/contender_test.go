package mesh_test

import (
	"context"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/scene"
)

const (
	namespace = "bench"
	// byHand is the namespace of a team that writes Istio's objects itself.
	byHand = "by-hand"
	host   = "external.system.com"
	// secret is the default name for host.
	secret = "external-system-mtls-data"
	// credentialPath is where an app that speaks TLS itself finds the credential.
	credentialPath = "/credential"
	// answerBytes is the length of the answers' bodies.
	answerBytes = "1000"
)

// app is a Pod that calls.
type app struct {
	namespace, name string
	// http is called: the sidecar speaks TLS. Otherwise the app does.
	http bool
	// asks for the target.
	asks bool
	// sidecar is missing in a Pod that is not part of the mesh.
	sidecar bool
}

// withoutLog keeps the sidecar of an app from writing an access log.
const withoutLog = `
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: %[2]s}}
  accessLogging: [{disabled: true}]
`

const quietApp = "sidecar-without-log"

// The apps.
func apps() []app {
	return []app{
		{namespace: namespace, name: "sidecar", http: true, asks: true, sidecar: true},
		{namespace: namespace, name: quietApp, http: true, asks: true, sidecar: true},
		{namespace: byHand, name: "sidecar-by-hand", http: true, sidecar: true},
		{namespace: namespace, name: "own-tls"},
		{namespace: namespace, name: "own-tls-in-mesh", sidecar: true},
	}
}

func (a app) deployment() scene.App {
	deployed := scene.App{Namespace: a.namespace, Name: a.name}
	switch {
	case a.asks:
		deployed.Annotations = scene.Target(host)
		return deployed
	case a.http:
		deployed.PodAnnotations = scene.MountedByHand()
		return deployed
	}
	if !a.sidecar {
		deployed.PodLabels = map[string]string{"sidecar.istio.io/inject": "false"}
	}
	deployed.Spec = func(spec *corev1.PodSpec) {
		spec.Volumes = append(spec.Volumes, corev1.Volume{
			Name: "credential", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}},
		})
		spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts,
			corev1.VolumeMount{Name: "credential", MountPath: credentialPath, ReadOnly: true})
	}
	return deployed
}

// load is what the app is asked to do.
func (a app) load(connections, requests int, keepAlive bool) caller.Bench {
	asked := caller.Bench{
		URL:         "http://" + host + "/bench?bytes=" + answerBytes,
		Connections: connections,
		Requests:    requests,
		KeepAlive:   keepAlive,
	}
	if !a.http {
		asked.URL = "https://" + host + "/bench?bytes=" + answerBytes
		asked.ClientCertificate, asked.ClientKey = filepath.Join(credentialPath, "cert"), filepath.Join(credentialPath, "key")
		asked.CA = filepath.Join(credentialPath, "cacert")
	}
	return asked
}

// contender is an app with its Pod.
type contender struct {
	app

	caller *caller.Client
	// address of its Pod.
	address string
}

// deploy creates the apps and returns them when each of them can call.
func deploy(ctx context.Context, s *scene.Scene) ([]contender, error) {
	credential, err := s.Credential("bench")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{namespace, byHand} {
		if err := s.CreateNamespace(ctx, name); err != nil {
			return nil, err
		}
		if err := s.WriteSecret(ctx, name, secret, credential.Data(scene.LayoutCert)); err != nil {
			return nil, err
		}
	}
	if err := s.Apply(ctx, scene.ByHand(byHand, ".")+"---"+fmt.Sprintf(withoutLog, namespace, quietApp)); err != nil {
		return nil, err
	}
	var contenders []contender
	for _, app := range apps() {
		if err := s.Deploy(ctx, app.deployment()); err != nil {
			return nil, err
		}
	}
	for _, app := range apps() {
		pod, err := s.ReadyPod(ctx, app.namespace, app.name)
		if err != nil {
			return nil, err
		}
		c := contender{app: app, caller: s.Caller(pod), address: pod.Status.PodIP}
		err = scene.Until(ctx, "the first answer to "+app.name, func(ctx context.Context) error {
			result, err := c.caller.Bench(ctx, app.load(1, 1, true))
			if err == nil {
				err = whole(result, 1)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		contenders = append(contenders, c)
	}
	return contenders, nil
}
