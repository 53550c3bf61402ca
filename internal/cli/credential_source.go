package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/cli-runtime/pkg/resource"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/certs/credential"
)

// secretTimeout bounds the request for a Secret.
const secretTimeout = 30 * time.Second

// sourceFlags are the flags of the commands that read a credential from a file, standard input or a
// Secret in the cluster.
type sourceFlags struct {
	connectionFlags
	namespace    string
	passwordFile string
}

func (f *sourceFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.passwordFile, "password-file", "",
		"file with the PKCS#12 password, or - for standard input; one trailing newline is removed (default: a prompt "+
			"on a terminal, then none)")
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "",
		"the namespace of secret/NAME (default: the namespace of the kubeconfig context)")
	f.connectionFlags.add(cmd)
}

// secretNamed parses secret/NAME, as kubectl does.
func secretNamed(argument string) (name string, isSecret bool) {
	if name, isSecret = strings.CutPrefix(argument, "secret/"); !isSecret {
		name, isSecret = strings.CutPrefix(argument, "secrets/")
	}
	return name, isSecret
}

func (f *sourceFlags) validate(argument string) error {
	var problems []error
	name, isSecret := secretNamed(argument)
	if errs := validation.IsDNS1123Subdomain(name); isSecret && len(errs) > 0 {
		problems = append(
			problems,
			fmt.Errorf("%s is not a valid Secret name: %s; for a file in a directory of that name, write ./%[1]s",
				printable(argument), strings.Join(errs, "; ")),
		)
	}
	if errs := validation.IsDNS1123Label(f.namespace); f.namespace != "" && len(errs) > 0 {
		problems = append(problems, fmt.Errorf("--namespace %s: %s", printable(f.namespace), strings.Join(errs, "; ")))
	}
	if !isSecret && (f.namespace != "" || f.kubeconfig != "" || f.context != "") {
		problems = append(problems,
			fmt.Errorf("--namespace, --kubeconfig and --context require a Secret in the cluster, written as "+
				"secret/NAME; %s is a file", sourceName(argument)))
	}
	if argument == standardInput && f.passwordFile == standardInput {
		problems = append(problems, errors.New("the file and the password can't both come from standard input"))
	}
	return wrongCommandLine(problems...)
}

// read reads the credential in argument, and returns it with a name for messages. The error of a
// Secret that holds no credential is a notFineError.
func (f *sourceFlags) read(
	ctx context.Context,
	in io.Reader,
	prompt io.Writer,
	argument string,
) (name string, material *credential.Material, err error) {
	if secret, isSecret := secretNamed(argument); isSecret {
		found, err := f.readFromCluster(ctx, secret)
		if err != nil {
			return "", nil, err
		}
		material, err := materialOfSecret(argument, found)
		return argument, material, err
	}
	content, err := readFile(in, argument)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && len(validation.IsDNS1123Subdomain(argument)) == 0 {
			err = fmt.Errorf("%w; for the Secret in the cluster, write secret/%s", err, argument)
		}
		return "", nil, err
	}
	name = sourceName(argument)
	material, err = f.open(in, prompt, name, content)
	return name, material, err
}

// open detects the file type by content.
func (f *sourceFlags) open(in io.Reader, prompt io.Writer, name string, content []byte) (*credential.Material, error) {
	switch {
	case credential.IsPKCS12(content):
		password, err := readPassword(f.passwordFile, in, prompt, "Password of "+name+": ")
		if err != nil {
			return nil, err
		}
		material, err := inTime(readingLimit,
			func() (*credential.Material, error) { return credential.MaterialOfPKCS12(content, password) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return material, nil
	case isManifest(content):
		secret, err := readSecret(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return materialOfSecret(name, secret)
	}
	material, err := credential.MaterialOfCertificates(name, content)
	return material, err
}

func materialOfSecret(name string, secret *corev1.Secret) (*credential.Material, error) {
	material, err := credential.MaterialOfSecret(secret)
	if err != nil {
		return nil, notFine(fmt.Errorf("%s: %w", name, err))
	}
	return material, nil
}

// readFromCluster reads one Secret with the user's permissions. It needs only get.
func (f *sourceFlags) readFromCluster(ctx context.Context, secretName string) (*corev1.Secret, error) {
	config, err := restConfig(f.kubeconfig, f.context)
	if err != nil {
		return nil, err
	}
	namespace := f.namespace
	if namespace == "" {
		if namespace, _, err = clientConfig(f.kubeconfig, f.context).Namespace(); err != nil {
			return nil, fmt.Errorf("reading the namespace of the kubeconfig context: %w", err)
		}
	}
	config.UserAgent = name + "/" + ownVersion()
	config.Timeout = secretTimeout
	client, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	secret, err := client.Secrets(namespace).Get(ctx, secretName, metav1.GetOptions{})
	if err != nil {
		return nil, explainUnread(err, namespace, secretName, config.Host)
	}
	return secret, nil
}

// explainUnread returns an error that explains why a Secret could not be read.
func explainUnread(err error, namespace, name, server string) error {
	switch {
	case absent.Object(err):
		return fmt.Errorf("the namespace %s has no Secret %s; set -n for another namespace", namespace, name)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("you are not allowed to get the Secret %s in the namespace %s: %w", name, namespace, err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API server %s doesn't accept the credentials in the kubeconfig; log in again: %w",
			server, err)
	}
	if unreachable, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("the API server %s can't be reached: %w", server, unreachable.Err)
	}
	return fmt.Errorf("reading the Secret %s of the namespace %s from %s: %w", name, namespace, server, err)
}

// isManifest reports whether content is a Kubernetes manifest. PEM and binary files have no kind.
func isManifest(content []byte) bool {
	text, _, err := credential.Text(content)
	if err != nil {
		return false
	}
	for document := range bytes.SplitSeq(text, []byte("\n---")) {
		var object struct {
			Kind string `json:"kind"`
		}
		if yaml.Unmarshal(document, &object) == nil && object.Kind != "" {
			return true
		}
	}
	return false
}

// readSecret returns the only Secret among manifests, including Lists. stringData overrides data,
// as on an API server.
func readSecret(content []byte) (*corev1.Secret, error) {
	documents, err := readDocuments(bytes.NewReader(content),
		resource.FilenameOptions{Filenames: []string{standardInput}})
	if err != nil {
		return nil, err
	}
	var secrets []map[string]any
	for _, document := range documents {
		secrets = append(secrets, secretsOf(document.Object)...)
	}
	if len(secrets) != 1 {
		return nil, fmt.Errorf("the manifests contain %d Secrets; pass exactly one", len(secrets))
	}
	typed := &corev1.Secret{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(secrets[0], typed); err != nil {
		// The converter's error can contain the value, which may be a key.
		return nil, errors.New("is not a valid Secret: values of data must be base64, and those of stringData text")
	}
	credential.MergeStringData(typed)
	return typed, nil
}

func secretsOf(object map[string]any) []map[string]any {
	if object["kind"] == "Secret" {
		return []map[string]any{object}
	}
	var secrets []map[string]any
	items, _ := object["items"].([]any)
	for _, item := range items {
		if element, ok := item.(map[string]any); ok {
			secrets = append(secrets, secretsOf(element)...)
		}
	}
	return secrets
}
