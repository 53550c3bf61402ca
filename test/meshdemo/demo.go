package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/installation"
	"mtls.egress/webhook/test/pki"
	"mtls.egress/webhook/test/scene"
	"mtls.egress/webhook/test/story"
)

// What the example consists of.
const (
	namespace  = "project"
	deployment = "shop"
	host       = "external.system.com"
)

// withoutSecret is a namespace that has no Secret.
const withoutSecret = "project-without-secret"

// width of the output in characters.
const width = 96

// demo tells how a call travels, and how it doesn't.
type demo struct {
	*story.Story

	scene *scene.Scene
	// asked are the addresses of the Pods that asked for a target.
	asked []string
}

func (d *demo) stop(ctx context.Context) error {
	if d.scene == nil {
		return nil
	}
	var err error
	if !d.scene.Own {
		_, _, err = d.scene.Kubectl(ctx, "delete", "namespace", namespace, withoutSecret,
			"--ignore-not-found", "--wait=false")
	}
	return errors.Join(err, d.scene.Remove(ctx))
}

// play tells the story up to its end.
func (d *demo) play(ctx context.Context) (err error) {
	start := time.Now()
	d.Sayf("A real Kubernetes node with Istio, the webhook and the controller with two replicas each, and a")
	d.Sayf("partner outside of the mesh that demands client certificates. On a new machine, all of it is")
	d.Sayf("built first, which takes some minutes.\n")
	if d.scene, err = scene.Start(ctx, scene.Options{
		Values: []string{"policy.exemptNamespaces={" + namespace + "}"},
		Say:    d.Begin,
	}); err != nil {
		return err
	}
	d.End()
	for _, part := range []func(context.Context) error{
		d.example, d.call, d.withoutAnnotation, d.withoutSecret, d.withWrongName, d.withoutDestinationRule, d.total,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	d.Sayf("\nDone in %.0f seconds.", time.Since(start).Seconds())
	return nil
}

// title begins a part.
func (d *demo) title(text string) {
	d.Sayf("\n%s\n%s\n", text, strings.Repeat("─", len([]rune(text))))
}

// says prints what somebody says, wrapped beside the name.
func (d *demo) says(who string, sentences ...string) {
	const indent = 10
	for _, sentence := range sentences {
		for line := range strings.Lines(story.Wrapped(sentence, width-indent-2)) {
			d.Sayf("  %-*s%s", indent, who, strings.TrimSuffix(line, "\n"))
			who = ""
		}
	}
}

// kubectl shows a command, runs it in a directory, and returns what it printed.
func (d *demo) kubectl(ctx context.Context, dir string, args ...string) (stdout, stderr string, err error) {
	const next = " \\\n      "
	d.Sayf("  $ %s", strings.ReplaceAll(story.Wrapped("kubectl "+strings.Join(args, " "), width-8), "\n", next))
	cmd := d.scene.Command(ctx, "kubectl", args...)
	cmd.Dir = dir
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	err = cmd.Run()
	return out.String(), problems.String(), err
}

// must is kubectl for commands that have to succeed. What they print isn't shown.
func (d *demo) must(ctx context.Context, args ...string) error {
	if _, stderr, err := d.kubectl(ctx, "", args...); err != nil {
		return fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, stderr)
	}
	return nil
}

// example runs the commands that examples/egress documents, as a user would.
func (d *demo) example(ctx context.Context) error {
	dir := filepath.Join(d.scene.Dir, "egress")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(d.scene.Root, "examples", "egress"))); err != nil {
		return err
	}
	if err := d.writeCredential(dir, time.Now()); err != nil {
		return err
	}
	if err := d.letItCall(filepath.Join(dir, "deployment.yaml")); err != nil {
		return err
	}
	commands, err := installation.DocumentedCommands(filepath.Join(dir, "README.md"))
	if err != nil {
		return err
	}
	d.title("examples/egress, as a user applies it")
	d.Sayf("  (Only the image in deployment.yaml is replaced, by a program that calls when it is told to.)\n")
	for _, args := range commands[:len(commands)-1] {
		if _, stderr, err := d.kubectl(ctx, dir, args...); err != nil {
			return fmt.Errorf("%w\n%s", err, stderr)
		}
	}
	if err := d.programmed(ctx, namespace, host); err != nil {
		return err
	}
	table, stderr, err := d.kubectl(ctx, dir, commands[len(commands)-1]...)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, stderr)
	}
	d.Sayf("")
	d.Indented(table)
	return nil
}

// writeCredential writes the files that the example mentions. The certificate is valid for 90
// days.
func (d *demo) writeCredential(dir string, now time.Time) error {
	template := pki.Client("shop")
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.AddDate(0, 0, 90)
	client, err := d.scene.ClientCA.Sign(template)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"client.crt":    client.CertPEM,
		"client.key":    client.KeyPEM,
		"server-ca.crt": d.scene.ServerCA.CertPEM,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// letItCall replaces the image of the example, which doesn't exist, by the caller.
func (d *demo) letItCall(path string) error {
	const image = "image: registry.example/shop:1.0"
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if strings.Count(string(content), image) != 1 {
		return fmt.Errorf("%s has another image than %q", path, image)
	}
	replaced := strings.Replace(string(content), image, "image: "+d.scene.Image("actor")+"\n        args: [caller]", 1)
	return os.WriteFile(path, []byte(replaced), 0o600)
}

// programmed waits until a target is ready.
func (d *demo) programmed(ctx context.Context, namespace, host string) error {
	for _, state := range []string{"create", "condition=Ready"} {
		if _, _, err := d.scene.Kubectl(
			ctx, "wait", "--for="+state, "egresstarget/"+host, "--namespace", namespace, "--timeout=2m",
		); err != nil {
			return err
		}
	}
	return nil
}

// get calls from an app until the outcome is one of which reached says yes, and shows that.
func (d *demo) get(ctx context.Context, app, url string, reached func(caller.Result) bool) (caller.Result, error) {
	pod, err := d.scene.ReadyPod(ctx, namespace, app)
	if err != nil {
		return caller.Result{}, err
	}
	result, err := d.until(ctx, pod, url, reached)
	if err != nil {
		return caller.Result{}, err
	}
	d.says("app", "GET "+url+" → "+outcome(result))
	if result.Status == http.StatusServiceUnavailable {
		return result, d.sidecarSaid(ctx, pod, strings.TrimPrefix(url, "http://"))
	}
	return result, nil
}

// sidecarSaid prints what the access log of the sidecar has of a call beside its status: the
// response flag and why.
func (d *demo) sidecarSaid(ctx context.Context, pod *corev1.Pod, url string) error {
	host, path, _ := strings.Cut(url, "/")
	// Istio's format; the host and path are those of the call:
	// https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format
	line := regexp.MustCompile(`"GET /` + regexp.QuoteMeta(path) + ` [^"]*" 503 (\S+) (\S+) \S+ "([^"]*)"`)
	var said []string
	err := scene.Until(ctx, "the access log of "+pod.Name+" for "+host, func(ctx context.Context) error {
		log, _, err := d.scene.Kubectl(ctx, "logs", pod.Name, "--namespace", pod.Namespace,
			"--container", "istio-proxy", "--tail=200")
		if err != nil {
			return err
		}
		if said = line.FindStringSubmatch(log); said == nil {
			return errors.New("it has no such call yet")
		}
		return nil
	})
	if err != nil {
		return err
	}
	reason := said[3]
	if reason == "-" {
		reason = said[2]
	}
	d.says("sidecar", fmt.Sprintf("response flag %s: %s", said[1], strings.ReplaceAll(reason, "_", " ")))
	return nil
}

// until calls until the outcome is one of which reached says yes.
func (d *demo) until(
	ctx context.Context,
	pod *corev1.Pod,
	url string,
	reached func(caller.Result) bool,
) (result caller.Result, err error) {
	err = scene.Until(ctx, "the outcome of "+url, func(ctx context.Context) error {
		results, err := d.scene.Caller(pod).Call(ctx, caller.Call{URL: url, Timeout: caller.Duration(3 * time.Second)})
		if err != nil {
			return err
		}
		if result = results[0]; !reached(result) {
			return fmt.Errorf("%s %s", result.Outcome, result.Body)
		}
		return nil
	})
	return result, err
}

// outcome is what came of a call, in words.
func outcome(result caller.Result) string {
	switch result.Outcome {
	case caller.OutcomeTimeout:
		return "no answer: the connection leads nowhere"
	case "503":
		return "503 from the sidecar"
	default:
		return string(result.Outcome)
	}
}

// keep opens a shell in which kubectl talks to the cluster. The cluster is out of reach of all
// others.
func (d *demo) keep(ctx context.Context, out io.Writer, in io.Reader) error {
	d.Sayf("\nIt keeps running. This shell is on its node, kubectl and helm are in the PATH; exit ends everything.")
	shell := d.scene.Command(ctx, "kubectl")
	shell.Env = append(shell.Env, "PATH="+filepath.Dir(shell.Path)+":"+os.Getenv("PATH"), `PS1=mesh$ `)
	shell.Path, shell.Args = "/bin/sh", []string{"sh"}
	shell.Stdin, shell.Stdout, shell.Stderr = in, out, out
	err := shell.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return nil // the status of the last command that was typed
	}
	return err
}
