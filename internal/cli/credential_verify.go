package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/verify"
)

type verifyFlags struct {
	connectionFlags
	partnerFlags
	namespace            string
	targetHost           string
	p12                  string
	passwordFile         string
	certificate          string
	key                  string
	serverCA             string
	serverCAPasswordFile string
	output               string
}

func newCredentialVerifyCommand() *cobra.Command {
	flags := &verifyFlags{}
	cmd := &cobra.Command{
		Use:   "verify (--target HOST CREDENTIAL | egt/HOST)\n      [flags]",
		Short: "Try a credential in a handshake with the partner",
		Long: `Make a TLS handshake with the partner from here, as a sidecar would, present the
credential, and say whether the partner takes it, with the reasons and messages
of the condition Verified. No request is sent. Like the sidecar, the command
presents the certificate only to a server that it trusts.

CREDENTIAL is a file (--p12 FILE: PKCS#12, PEM with the key, a Java key store),
two files (--cert FILE --key FILE), or secret/NAME in the cluster. egt/HOST
reads an EgressTarget, its Secret and its CA, and needs no other flags. Only
secret/NAME and egt/HOST need a cluster, and get on these objects.

From here means: the network, DNS and firewalls between this machine and the
partner. Those of the cluster can be others.

Exit codes: 0 the partner takes the credential; 1 it doesn't, the handshake
proves nothing, or the password is wrong; 2 invalid command line or input, or
the cluster can't be read.`,
		Example: `  mtls-egress-webhook credential verify --target external.system.com \
    --p12 keystore.p12 --password-file password.txt --server-ca server-ca.pem

  mtls-egress-webhook credential verify --target external.system.com \
    --cert client.pem --key client.key --server-ca server-ca.pem

  mtls-egress-webhook credential verify secret/external-system-mtls-data \
    --target external.system.com -n project

  mtls-egress-webhook credential verify egt/external.system.com -n project`,
		Args: optionalArgument("egt/HOST or secret/NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			argument := ""
			if len(args) > 0 {
				argument = args[0]
			}
			return runVerify(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), argument, flags,
				time.Now())
		},
	}
	set := cmd.Flags()
	set.StringVar(&flags.targetHost, "target", "", "the host of the partner, and its TLS port if it is not 443")
	set.StringVar(&flags.p12, "p12", "", "file with the key and the certificates: PKCS#12, PEM or a Java key store")
	set.StringVar(&flags.certificate, "cert", "", "PEM or DER file with the client certificate and its intermediates")
	set.StringVar(&flags.key, "key", "", "PEM file with the private key of --cert")
	set.StringVar(&flags.passwordFile, "password-file", "",
		"file with the password of --p12 or --key, or - for standard input; one trailing newline is removed (default: a "+
			"prompt on a terminal, then none)")
	set.StringVar(&flags.serverCA, "server-ca", "",
		"file with the CA of the server certificate (PEM, DER, PKCS#7, or a Java or PKCS#12 trust store), or system for "+
			"the CAs that this machine trusts (default: the CA in the Secret, or else system)")
	set.StringVar(&flags.serverCAPasswordFile, "server-ca-password-file", "",
		"file with the password of the trust store in --server-ca, or - for standard input (default: a prompt on a "+
			"terminal, then none)")
	flags.partnerFlags.add(cmd)
	set.StringVarP(&flags.namespace, "namespace", "n", "",
		"the namespace of secret/NAME or egt/HOST (default: the namespace of the kubeconfig context)")
	flags.connectionFlags.add(cmd)
	addOutput(cmd, &flags.output, outputText, outputYAML, outputJSON)
	return cmd
}

// trialResult is what verify prints.
type trialResult struct {
	Target string `json:"target"`
	// Address is the address and port of the connection. "" without a connection.
	Address string `json:"address,omitempty"`
	// Subject, SHA256 and NotAfter are those of the client certificate.
	Subject  string     `json:"subject,omitempty"`
	SHA256   string     `json:"sha256,omitempty"`
	NotAfter *time.Time `json:"notAfter,omitempty"`
	// Verified, Reason and Message are those of [verify.Outcome], or of the refused credential.
	Verified bool   `json:"verified"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
}

// trial is a credential to present to a target.
type trial struct {
	target     egress.Target
	credential *credential.Credential
	request    verify.Request
	// reason and message say why the credential can't be presented.
	reason, message string
}

func runVerify(
	ctx context.Context,
	in io.Reader,
	out, diagnostics io.Writer,
	argument string,
	flags *verifyFlags,
	now time.Time,
) error {
	if err := flags.validate(argument); err != nil {
		return err
	}
	planned, findings, err := flags.trial(ctx, in, diagnostics, argument, now)
	if err != nil {
		return err
	}
	if err := writeNotes(diagnostics, findingLines(findings)); err != nil {
		return err
	}
	done := newProgress(diagnostics).wait("connecting to " + planned.target.Host)
	result := planned.run(ctx, now)
	done()
	encoded, err := encodeResult(result, flags.output, func() string { return flags.typed(result.text()) })
	if err != nil {
		return err
	}
	if _, err := out.Write(encoded); err != nil {
		return err
	}
	switch {
	case !result.Verified && result.Reason == string(verify.ServerNotTrusted):
		connect := ""
		if flags.connect != "" {
			connect = " --connect " + flags.connect
		}
		return notFine(fmt.Errorf("the credential is not verified with %s: %s; credential server-ca %[1]s%[3]s shows which "+
			"CA to trust", result.Target, result.Reason, connect))
	case !result.Verified:
		err := fmt.Errorf("the credential is not verified with %s: %s", result.Target, result.Reason)
		if slices.Contains([]string{string(verify.ProbeInterrupted), string(verify.SystemCANotFound)}, result.Reason) {
			return err // the reason is this machine, and nothing was examined
		}
		return notFine(err)
	}
	return nil
}

func (f *verifyFlags) validate(argument string) error {
	var problems []error
	kind, name, isObject := strings.Cut(argument, "/")
	isTarget := isObject && kind == "egt"
	secret, isSecret := secretNamed(argument)
	sources := 0
	for _, given := range []bool{argument != "", f.p12 != "", f.certificate != "" || f.key != ""} {
		if given {
			sources++
		}
	}
	switch {
	case sources != 1:
		problems = append(problems, errors.New("pass one credential: --p12 FILE, --cert FILE with --key FILE, secret/NAME "+
			"or egt/HOST"))
	case (f.certificate == "") != (f.key == ""):
		problems = append(problems, errors.New("--cert and --key belong together: pass both"))
	case argument != "" && !isTarget && !isSecret:
		problems = append(problems,
			fmt.Errorf("%s is neither secret/NAME nor egt/HOST; for a file, set --p12", printable(argument)))
	}
	if isSecret {
		if errs := validation.IsDNS1123Subdomain(secret); len(errs) > 0 {
			problems = append(problems,
				fmt.Errorf("%s is not a valid Secret name: %s", printable(argument), strings.Join(errs, "; ")))
		}
	}
	if isTarget {
		if _, err := egress.NormalizeHost(name); err != nil {
			problems = append(problems, fmt.Errorf("%s %w", printable(argument), err))
		}
		if f.targetHost != "" || f.serverCA != "" || f.sni != "" || len(f.subjectAltNames) > 0 {
			problems = append(problems, errors.New("--target, --server-ca, --sni and --subject-alt-name come from the "+
				"EgressTarget: omit them"))
		}
		_, err := f.target("host.example")
		problems = append(problems, err)
	} else if f.targetHost == "" {
		problems = append(problems, errors.New("--target is missing: set it to the host of the partner, for example "+
			"external.system.com"))
	} else if _, err := f.target(f.targetHost); err != nil {
		problems = append(problems, fmt.Errorf("--target: %w", err))
	}
	if argument == "" && (f.namespace != "" || f.kubeconfig != "" || f.context != "") {
		problems = append(problems, errors.New("--namespace, --kubeconfig and --context require a credential in the "+
			"cluster, written as secret/NAME or egt/HOST"))
	}
	if errs := validation.IsDNS1123Label(f.namespace); f.namespace != "" && len(errs) > 0 {
		problems = append(problems, fmt.Errorf("--namespace %s: %s", printable(f.namespace), strings.Join(errs, "; ")))
	}
	if f.passwordFile == standardInput && f.serverCAPasswordFile == standardInput {
		problems = append(problems, errors.New("standard input can only be one of the files"))
	}
	return wrongCommandLine(problems...)
}

// trial reads the credential.
func (f *verifyFlags) trial(
	ctx context.Context, in io.Reader, prompt io.Writer, argument string, now time.Time,
) (trial, []credential.Finding, error) {
	if host, isTarget := strings.CutPrefix(argument, "egt/"); isTarget {
		planned, err := f.trialOfTarget(ctx, host, now)
		return planned, nil, err
	}
	t, err := f.target(f.targetHost)
	if err != nil {
		return trial{}, nil, err
	}
	var authorities credential.Authorities
	if f.serverCA != "" && f.serverCA != systemCA {
		if authorities, err = readTrustStore(in, prompt, f.serverCA, f.serverCAPasswordFile); err != nil {
			return trial{}, nil, fmt.Errorf("--server-ca: %w", err)
		}
	}
	if name, isSecret := secretNamed(argument); isSecret {
		planned, err := f.trialOfSecret(ctx, t, name, authorities, now)
		return planned, nil, err
	}
	bundle, err := f.readFiles(in, prompt)
	if err != nil {
		return trial{}, nil, err
	}
	return trialOfBundle(t, bundle, authorities, now)
}

// readFiles reads the credential from --p12, or from --cert and --key.
func (f *verifyFlags) readFiles(in io.Reader, prompt io.Writer) (credential.Bundle, error) {
	if f.p12 != "" {
		content, err := readFile(nil, f.p12)
		if err != nil {
			return credential.Bundle{}, fmt.Errorf("--p12: %w", err)
		}
		return openKeyStore(in, prompt, sourceName(f.p12), content, f.passwordFile)
	}
	files := completeFlags{key: f.key, passwordFile: f.passwordFile, certificates: []string{f.certificate}}
	return files.read(in, prompt)
}

// trialOfBundle presents what import would put into a Secret.
func trialOfBundle(
	t egress.Target, bundle credential.Bundle, authorities credential.Authorities, now time.Time,
) (trial, []credential.Finding, error) {
	layout := credential.CertKeyLayout()
	if t.ServerCA.System = len(authorities.Certificates) == 0; t.ServerCA.System {
		layout.ServerCA = ""
	}
	assembled, err := credential.Assemble(bundle, authorities, layout, now)
	if refused, ok := errors.AsType[*credential.RefusedError](err); ok {
		return trial{target: t, reason: string(refused.Reason()), message: refused.Error()}, nil, nil
	}
	if err != nil {
		return trial{}, nil, err
	}
	request, err := verify.RequestFor(t, assembled.Data, layout, nil)
	return trial{target: t, credential: assembled.Credential, request: request}, assembled.Findings, err
}

// objects reads objects of the cluster with the user's permissions.
func (f *verifyFlags) objects() (client.Client, string, error) {
	c, err := f.client(secretTimeout, corev1.AddToScheme, v1alpha1.AddToScheme)
	if err != nil {
		return nil, "", err
	}
	namespace := f.namespace
	if namespace == "" {
		if namespace, _, err = clientConfig(f.kubeconfig, f.context).Namespace(); err != nil {
			return nil, "", err
		}
	}
	return c, namespace, nil
}

// trialOfSecret presents the credential in a Secret. The CA of the server is in authorities, in the
// Secret, or the system's.
func (f *verifyFlags) trialOfSecret(
	ctx context.Context, t egress.Target, name string, authorities credential.Authorities, now time.Time,
) (trial, error) {
	source := sourceFlags{connectionFlags: f.connectionFlags, namespace: f.namespace}
	secret, err := source.readFromCluster(ctx, name)
	if err != nil {
		return trial{}, err
	}
	t.Namespace = secret.Namespace
	if layout, err := credential.LayoutOf(t, secret); err == nil && len(authorities.Certificates) == 0 {
		_, hasCA := secret.Data[layout.ServerCA]
		t.ServerCA.System = f.serverCA == systemCA || !hasCA
	}
	if len(authorities.Certificates) > 0 {
		// The CA is neither in the Secret nor the system's.
		t.ServerCA.ConfigMap = v1alpha1.ConfigMapKey{Name: f.serverCA}
	}
	return trialOf(t, plan.CheckCredential(t, name, 0, secret, now), secret, authorities.Encode())
}

// trialOfTarget presents the credential of an EgressTarget.
func (f *verifyFlags) trialOfTarget(ctx context.Context, text string, now time.Time) (trial, error) {
	host, err := egress.NormalizeHost(text)
	if err != nil {
		return trial{}, err
	}
	c, namespace, err := f.objects()
	if err != nil {
		return trial{}, err
	}
	egressTarget, err := absent.ReadByName[v1alpha1.EgressTarget](ctx, c, namespace, host)
	if err != nil {
		return trial{}, err
	}
	if egressTarget == nil {
		return trial{},
			fmt.Errorf("the namespace %s has no EgressTarget %s; set -n for another namespace", namespace, host)
	}
	t := egress.FromEgressTarget(namespace, host, egressTarget, egress.Sinkhole{})
	if err := f.redirect(&t); err != nil {
		return trial{}, err
	}
	secret, err := absent.ReadByName[corev1.Secret](ctx, c, namespace, t.SecretName)
	if err != nil {
		return trial{}, err
	}
	check := plan.CheckCredential(t, t.SecretName, 0, secret, now)
	var authority []byte
	if source := t.ServerCA.ConfigMap; source.Name != "" {
		configMap, err := absent.ReadByName[corev1.ConfigMap](ctx, c, namespace, source.Name)
		if err != nil {
			return trial{}, err
		}
		check = check.WithServerCA(t, configMap, now)
		if configMap != nil {
			authority = credential.ConfigMapData(configMap)[source.Key]
		}
	}
	return trialOf(t, check, secret, authority)
}

// trialOf returns the trial of a credential in the cluster, as far as the controller would use it.
func trialOf(t egress.Target, check plan.CredentialCheck, secret *corev1.Secret, authority []byte) (trial, error) {
	if !check.Usable() {
		return trial{target: t, credential: check.Credential, reason: check.Reason, message: check.Message}, nil
	}
	request, err := verify.RequestFor(t, secret.Data, check.Layout, authority)
	return trial{target: t, credential: check.Credential, request: request}, err
}

// run makes the handshake, unless the credential can't be presented.
func (t trial) run(ctx context.Context, now time.Time) trialResult {
	result := trialResult{Target: net.JoinHostPort(t.target.Host, strconv.Itoa(int(t.target.Port)))}
	if t.credential != nil {
		result.Subject, result.SHA256, result.NotAfter = t.credential.Subject, t.credential.SHA256, &t.credential.NotAfter
	}
	if t.reason != "" {
		result.Reason, result.Message = t.reason, t.message
		return result
	}
	seen := newProber(now).Probe(ctx, t.request)
	outcome := verify.Evaluate(seen)
	result.Address, result.Verified = seen.Address, outcome.Verified
	result.Reason, result.Message = string(outcome.Reason), outcome.Message
	return result
}

// status is that of the condition Verified: False only if the handshake proves something.
func (r trialResult) status() metav1.ConditionStatus {
	switch {
	case r.Verified:
		return metav1.ConditionTrue
	case r.Reason == string(verify.IssuerNotNamed):
		return metav1.ConditionUnknown
	}
	return metav1.ConditionFalse
}

func (r trialResult) text() string {
	credentialText := ""
	if r.NotAfter != nil {
		credentialText = fmt.Sprintf("%s, expires on %s", r.Subject, r.NotAfter.Format(time.RFC3339))
	}
	var text strings.Builder
	for _, row := range [][2]string{
		{"Target", r.Target},
		{"Connected", r.Address},
		{"Credential", credentialText},
		{"SHA-256", r.SHA256},
		{"Verified", string(r.status())},
		{"Reason", r.Reason},
		{"Message", r.Message},
	} {
		if row[1] != "" {
			fmt.Fprintf(&text, "%-11s %s\n", row[0]+":", row[1])
		}
	}
	return printable(text.String())
}
