package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/test/installation"
	"mtls.egress/webhook/test/story"
)

// What the example consists of.
const (
	namespace  = "project"
	deployment = "shop"
	host       = "external.system.com"
)

// demo tells what one annotation does.
type demo struct {
	*story.Story

	installed *installation.Installation
}

func (d *demo) stop() error {
	if d.installed == nil {
		return nil
	}
	return d.installed.Stop()
}

// play tells the story up to its end.
func (d *demo) play(ctx context.Context) (err error) {
	start := time.Now()
	d.Sayf("A real kube-apiserver, with webhook and controller beside it. This takes about 20 seconds; the first")
	d.Sayf("time on a machine some minutes, as etcd, kube-apiserver, kubectl and Helm have to be built.\n")
	if d.installed, err = installation.Start(ctx, installation.Options{Say: d.Begin}); err != nil {
		return err
	}
	dir, err := d.applyExample(ctx)
	if err != nil {
		return err
	}
	d.Begin("creating its Pod, as the controllers of a cluster would")
	before, err := d.installed.Admin.AppsV1().Deployments(namespace).Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return err
	}
	pod, err := d.installed.CreatePod(ctx, before)
	if err != nil {
		return err
	}
	d.Begin("waiting for the Istio objects")
	if _, _, err := d.installed.Kubectl(
		ctx, "wait", "--for=create", "egresstarget/"+host, "--namespace", namespace, "--timeout=1m",
	); err != nil {
		return err
	}
	if _, _, err := d.installed.Kubectl(
		ctx, "wait", "--for=condition=Programmed", "egresstarget/"+host, "--namespace", namespace, "--timeout=1m",
	); err != nil {
		return err
	}
	d.End()
	if err := d.show(ctx, dir, before, pod); err != nil {
		return err
	}
	d.Sayf("\nDone in %.0f seconds.", time.Since(start).Seconds())
	return nil
}

// applyExample runs the commands that the example documents, but for the last one, which looks at
// the outcome.
func (d *demo) applyExample(ctx context.Context) (dir string, err error) {
	if dir, err = d.installed.Example("egress"); err != nil {
		return "", err
	}
	if err := installation.WriteCredential(dir, time.Now()); err != nil {
		return "", err
	}
	commands, err := installation.DocumentedCommands(filepath.Join(dir, "README.md"))
	if err != nil {
		return "", err
	}
	for _, args := range commands[:len(commands)-1] {
		d.Begin("kubectl " + strings.Join(args, " "))
		if _, err := d.installed.KubectlIn(ctx, dir, args...); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// show prints what became of the annotation.
func (d *demo) show(ctx context.Context, dir string, before *appsv1.Deployment, pod *corev1.Pod) error {
	d.Sayf("\nThe Deployment %s asks with one annotation:\n", before.Name)
	if err := d.yaml(map[string]any{
		"metadata": map[string]any{
			"annotations": map[string]any{"mtls.egress/target": before.Annotations["mtls.egress/target"]},
		},
	}); err != nil {
		return err
	}
	d.Sayf("\nWhat its Pod %s got:\n", pod.Name)
	if err := d.yaml(changes(before.Spec.Template, pod)); err != nil {
		return err
	}
	if err := d.objects(ctx); err != nil {
		return err
	}
	table, err := d.installed.KubectlIn(ctx, dir, "get", "egt", "--namespace", namespace)
	if err != nil {
		return err
	}
	d.Sayf("\nkubectl get egt -n %s (no mesh injects a sidecar here; with make demo-mesh it is ready)\n", namespace)
	d.Indented(table)
	explained, err := d.explain(ctx, dir)
	if err != nil {
		return err
	}
	d.Sayf("\nIn a sentence (mtls-egress-webhook render -f examples/egress --explain):\n")
	d.Indented(story.Wrapped(explained, 110))
	return nil
}

// changes are what a Pod has more than the template that it was made of, but for what every Pod
// gets.
func changes(template corev1.PodTemplateSpec, pod *corev1.Pod) map[string]any {
	added := func(all, had map[string]string) map[string]string {
		more := maps.Clone(all)
		maps.DeleteFunc(more, func(name, value string) bool {
			return had[name] == value || name == appsv1.DefaultDeploymentUniqueLabelKey
		})
		return more
	}
	return map[string]any{
		"metadata": map[string]any{
			"annotations": added(pod.Annotations, template.Annotations),
			"labels":      added(pod.Labels, template.Labels),
		},
		"spec": map[string]any{"hostAliases": pod.Spec.HostAliases},
	}
}

// purposes say what the generated objects are for, in the order of their writing.
func purposes() [][2]string {
	return [][2]string{
		{"serviceentry/mtls-egress", "has the sidecars of the namespace listen on the app's port; shared by all targets"},
		{
			"virtualservice/mtls-egress-" + host,
			"leads http://" + host + " to the partner's TLS port, and says what is retried",
		},
		{
			"destinationrule/mtls-egress-" + host,
			"the mutual TLS: client certificate, server name, CA and the name that is checked",
		},
		{"serviceentry/mtls-egress-" + host, "makes the host known, with the partner's real address"},
		{"serviceentry/mtls-egress--app." + host, "has the sidecars listen at the address that the host has inside the Pod"},
	}
}

// objects prints the Istio objects, all of which have to be there.
func (d *demo) objects(ctx context.Context) error {
	d.Sayf("\nThe Istio objects beside it:\n")
	width := 0
	for _, purpose := range purposes() {
		width = max(width, len(purpose[0]))
	}
	for _, purpose := range purposes() {
		kind, name, _ := strings.Cut(purpose[0], "/")
		if _, _, err := d.installed.Kubectl(
			ctx, "get", kind+".networking.istio.io", name, "--namespace", namespace,
		); err != nil {
			return err
		}
		d.Sayf("  %-*s  %s", width, purpose[0], purpose[1])
	}
	return nil
}

// explain is what render --explain says of the example and its Secret.
func (d *demo) explain(ctx context.Context, dir string) (string, error) {
	secret, err := d.installed.KubectlIn(ctx, dir, "get", "secret", "external-system-mtls-data",
		"--namespace", namespace, "--output=yaml")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, d.installed.Command, "render", "-f", dir, "-f", "-", "--explain", "--show", "objects")
	cmd.Stdin = strings.NewReader(secret)
	cmd.Stdout = io.Discard
	var sentence bytes.Buffer
	cmd.Stderr = &sentence
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("render: %w\n%s", err, sentence.String())
	}
	return strings.TrimSpace(sentence.String()), nil
}

func (d *demo) yaml(content any) error {
	text, err := yaml.Marshal(content)
	if err != nil {
		return err
	}
	d.Indented(string(text))
	return nil
}

// keep waits for Ctrl-C.
func (d *demo) keep(ctx context.Context) {
	d.Sayf("\nIt keeps running. In another terminal:\n")
	d.Sayf("  export KUBECONFIG=%s", d.installed.Kubeconfig)
	d.Sayf("  kubectl get egt -n %s", namespace)
	d.Sayf("\nThere is a kubectl in %s.", filepath.Join(d.installed.Dir, "assets"))
	d.Sayf("Ctrl-C ends everything.")
	<-ctx.Done()
	d.Sayf("Ending.")
}
