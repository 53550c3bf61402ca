package mesh

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/installation"
	"mtls.egress/webhook/test/scene"
)

// TestTheTutorialOfAFirstCall runs the kubectl commands of the tutorial in their order, with its
// own partner. The node has no registry, so both containers have the image of the foreign clients,
// with Debian's nginx and curl.
func TestTheTutorialOfAFirstCall(t *testing.T) {
	s := play(t)
	const partnerHost, page = "partner.example.com", "docs/tutorials/first-call.md"
	dir := t.TempDir()
	tutorialFiles(t, s, dir)
	commands, err := installation.DocumentedCommands(filepath.Join(s.Root, page))
	must(t, err)
	t.Cleanup(func() {
		for _, namespace := range []string{"first-call", "acme"} {
			if t.Failed() {
				explain(t, s, namespace)
			}
			if err := s.DeleteNamespace(context.Background(), namespace); err != nil {
				t.Error(err)
			}
		}
	})

	expected := []outcome{
		{"exec deployment/partner", "https://localhost:8443", "No required SSL certificate was sent", false},
		{"exec deployment/shop", "http://" + partnerHost, "Hello CN=shop\n", false},
		{"exec deployment/shop", "/etc/hosts", s.Sinkhole().Address(partnerHost).String(), false},
		{"delete virtualservice", "", "is generated from an EgressTarget", true},
		{"exec deployment/shop", "http://" + partnerHost, "curl: (6) Could not resolve host: " + partnerHost, true},
	}
	for _, args := range commands {
		line := strings.Join(args, " ")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		command := s.Command(ctx, "kubectl", args...)
		command.Dir = dir
		stdout, stderr, err := apiserver.Output(command)
		printed := stdout + stderr
		cancel()
		if len(expected) == 0 || !expected[0].is(line) {
			must(t, err)
			continue
		}
		if want := expected[0]; (err != nil) != want.fails || !strings.Contains(printed, want.prints) {
			t.Fatalf("kubectl %s: error %v, want one: %t; it prints %q, want %q", line, err, want.fails, printed, want.prints)
		}
		expected = expected[1:]
	}
	if len(expected) > 0 {
		t.Errorf("%s lacks the commands %v", page, expected)
	}
}

// outcome is what a command of the tutorial, given by its begin and its end, prints.
type outcome struct {
	begins, ends, prints string
	fails                bool
}

func (o outcome) is(line string) bool {
	return strings.HasPrefix(line, o.begins) && strings.HasSuffix(line, o.ends)
}

// tutorialFiles writes the files that the commands of the tutorial name.
func tutorialFiles(t *testing.T, s *scene.Scene, dir string) {
	t.Helper()
	examples := filepath.Join(dir, "examples", "first-call")
	must(t, os.CopyFS(examples, os.DirFS(filepath.Join(s.Root, "examples", "first-call"))))
	image := clientsImage(t, s)
	// Debian's default site listens over IPv6, which not each node has.
	const nginx = "\n        command: [sh, -c, \"rm /etc/nginx/sites-enabled/default; exec nginx -g 'daemon off;'\"]"
	for name, images := range map[string][2]string{
		"partner.yaml": {"image: nginx:1.29", "image: " + image + nginx},
		"app.yaml":     {"image: curlimages/curl:8.16.0", "image: " + image},
	} {
		path := filepath.Join(examples, name)
		content, err := os.ReadFile(path)
		must(t, err)
		if !strings.Contains(string(content), images[0]) {
			t.Fatalf("%s lacks %q", name, images[0])
		}
		must(t, os.WriteFile(path, []byte(strings.Replace(string(content), images[0], images[1], 1)), 0o600))
	}
	script := exec.CommandContext(t.Context(), "sh", "examples/first-call/certificates.sh")
	script.Dir = dir
	_, _, err := apiserver.Output(script)
	must(t, err)
}
