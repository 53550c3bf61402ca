package installation

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/pki"
)

// WriteCredential writes the files of a new client certificate into dir, named as the documentation
// names them: client.crt, client.key, and server-ca.crt for the CA of the partner. The certificate
// is valid from an hour before now for 90 days.
func WriteCredential(dir string, now time.Time) error {
	ca, err := pki.Authority("Partner CA")
	if err != nil {
		return err
	}
	template := pki.Client("shop")
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.AddDate(0, 0, 90)
	client, err := ca.Sign(template)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"client.crt":    client.CertPEM,
		"client.key":    client.KeyPEM,
		"server-ca.crt": ca.CertPEM,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Example returns a copy of a folder of examples, so that commands of its README can find the files
// that a user has.
func (i *Installation) Example(name string) (dir string, err error) {
	if dir, err = os.MkdirTemp(i.Dir, name+"-"); err != nil {
		return "", err
	}
	return dir, os.CopyFS(dir, os.DirFS(filepath.Join(i.Root, "examples", name)))
}

// DocumentedCommands returns the kubectl commands in the code blocks of a Markdown file, in their
// order, each as its arguments.
func DocumentedCommands(file string) ([][]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var commands [][]string
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "kubectl" {
			commands = append(commands, words[1:])
		}
	}
	if len(commands) == 0 {
		return nil, fmt.Errorf("%s documents no kubectl command", file)
	}
	return commands, nil
}

// KubectlIn runs kubectl in a directory and returns what it prints. The error carries standard
// error.
func (i *Installation) KubectlIn(ctx context.Context, dir string, args ...string) (stdout string, err error) {
	cmd := i.Server.Command(ctx, "kubectl", args...)
	cmd.Dir = dir
	stdout, _, err = apiserver.Output(cmd)
	return stdout, err
}
