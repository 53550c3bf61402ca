package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/color"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/explain"
	"mtls.egress/webhook/internal/explain/bundle"
	"mtls.egress/webhook/internal/explain/live"
)

const (
	// explainTimeout bounds the whole command, and explainRequestTimeout each request.
	explainTimeout        = time.Minute
	explainRequestTimeout = 15 * time.Second
	// defaultReleaseNamespace is where the docs install the chart.
	defaultReleaseNamespace = "mtls-egress"
)

type explainFlags struct {
	connectionFlags
	namespace        string
	releaseNamespace string
	target           string
	output           string
	bundle           string
	workloads        workloadFlag
}

func newExplainCommand() *cobra.Command {
	flags := &explainFlags{}
	cmd := &cobra.Command{
		Use:   "explain (POD | KIND/NAME | egt/HOST) [flags]",
		Short: "Find the cause of failing calls",
		Long: `Walk from the annotation of a Pod to the partner's answer, and name the first
thing that is wrong: the annotation, admission, the sidecar and what it
intercepts, the EgressTarget, the Secret, the Istio objects, what this very
sidecar has of them, the certificate that it presents, the partner's addresses,
and the last calls. Each step is marked: ✓ right, ✗ wrong, ? not known, - not
asked, because it follows from another step. The result has one cause, one
command and one page to read.

Of a workload, the command explains the Pod that is the least far on that way;
of several, the newest. It reads with your own permissions, and names those that
it lacks: get and list of Pods, workloads, events, EgressTargets and Istio
objects, get of the Secret, pods/log of the sidecar, and pods/portforward or
pods/exec for Envoy's admin interface. It changes nothing.

--bundle writes all that was read to a file for support. It contains no key, no
value of a Secret or ConfigMap, no environment variable, argument or path of a
call, and only annotations of Istio and of this project.

Exit codes: 0 no fault was found; 1 a cause was found; 2 invalid command line,
or nothing could be read.`,
		Example: `  mtls-egress-webhook explain deploy/shop -n project

  mtls-egress-webhook explain egt/external.system.com -n project -o json

  # For support
  mtls-egress-webhook explain deploy/shop -n project --bundle support.tar.gz`,
		Args: oneArgument("POD, KIND/NAME or egt/HOST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runExplain(cmd.Context(), cmd.OutOrStdout(), flags.progress(cmd.ErrOrStderr()), args[0], flags, time.Now())
		},
	}
	flags.add(cmd)
	set := cmd.Flags()
	set.StringVarP(&flags.namespace, "namespace", "n", "",
		"the namespace of the Pod (default: the namespace of the kubeconfig context)")
	set.StringVar(&flags.releaseNamespace, "release-namespace", defaultReleaseNamespace,
		"the namespace of the controller, whose Lease shows whether it runs")
	set.StringVar(&flags.target, "target", "", "explain only this host (default: each host of the Pod)")
	addOutput(cmd, &flags.output, outputText, outputYAML, outputJSON)
	set.StringVar(&flags.bundle, "bundle", "", "write all that was read to this .tar.gz file, without secrets")
	flags.workloads.addFlag(set)
	return cmd
}

// validate returns all problems of the flags, and the normalized host of --target.
func (f *explainFlags) validate() (host string, err error) {
	var problems []error
	for flag, name := range map[string]string{"namespace": f.namespace, "release-namespace": f.releaseNamespace} {
		if errs := validation.IsDNS1123Label(name); name != "" && len(errs) > 0 {
			problems = append(problems, fmt.Errorf("--%s %s: %s", flag, printable(name), strings.Join(errs, "; ")))
		}
	}
	if f.target != "" {
		if host, err = egress.NormalizeHost(f.target); err != nil {
			problems = append(problems, fmt.Errorf("--target: %w", err))
		}
	}
	return host, wrongCommandLine(problems...)
}

func runExplain(
	ctx context.Context, out io.Writer, shown progress, argument string, flags *explainFlags, now time.Time,
) error {
	host, err := flags.validate()
	kinds, kindsErr := flags.workloads.kinds()
	subject, subjectErr := live.ParseSubject(argument, kinds)
	if err := wrongCommandLine(err, kindsErr, subjectErr); err != nil {
		return err
	}
	reader, err := flags.reader(now)
	if err != nil {
		return err
	}
	reader.Kinds = kinds
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	done := shown.wait("reading what explains " + printable(argument))
	facts, err := reader.Facts(ctx, subject, host)
	done()
	if err != nil {
		return err
	}
	reports := make([]explain.Report, 0, len(facts))
	for _, each := range facts {
		reports = append(reports, explain.Explain(each))
	}
	if err := writeReports(out, reports, flags.output, flags.typed); err != nil {
		return err
	}
	if flags.bundle != "" {
		if err := writeBundle(flags.bundle, reader, reports, now); err != nil {
			return err
		}
	}
	return resultError(reports)
}

// reader returns a reader with the namespace of the flag or of the kubeconfig context.
func (f *explainFlags) reader(now time.Time) (*live.Reader, error) {
	config, err := f.config(explainRequestTimeout)
	if err != nil {
		return nil, err
	}
	namespace := f.namespace
	if namespace == "" {
		if namespace, _, err = clientConfig(f.kubeconfig, f.context).Namespace(); err != nil {
			return nil, err
		}
	}
	c, err := f.client(explainRequestTimeout, corev1.AddToScheme, coordinationv1.AddToScheme, v1alpha1.AddToScheme)
	if err != nil {
		return nil, err
	}
	return &live.Reader{
		Client: c, Config: config, Namespace: namespace, ReleaseNamespace: f.releaseNamespace, Now: now,
	}, nil
}

// writeReports writes the reports. typed is applied to text: see [connectionFlags.typed].
func writeReports(out io.Writer, reports []explain.Report, output string, typed func(string) string) error {
	encoded, err := encodeResult(map[string]any{"reports": reports}, output, func() string {
		texts := make([]string, len(reports))
		for n := range reports {
			texts[n] = reports[n].Text(color.Wanted(out))
		}
		return typed(strings.Join(texts, "\n"))
	})
	if err != nil {
		return err
	}
	_, err = out.Write(encoded)
	return err
}

// writeBundle writes a bundle that only the user can read.
func writeBundle(path string, reader *live.Reader, reports []explain.Report, now time.Time) error {
	files, secrets := reader.Files()
	encoded, err := json.MarshalIndent(reports, "", "  ")
	if err != nil {
		return err
	}
	files["reports.json"] = encoded
	files["version.json"] = fmt.Appendf(nil, "{\"version\": %q}\n", ownVersion())
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("--bundle: %w", err)
	}
	if err := errors.Join(bundle.Write(file, files, secrets, now), file.Close()); err != nil {
		return fmt.Errorf("--bundle: %w", err)
	}
	return nil
}

// resultError returns an error if a cause was found, or if nothing could be read.
func resultError(reports []explain.Report) error {
	var causes []string
	blind := true
	for n := range reports {
		if report := &reports[n]; report.Found() {
			causes = append(causes, string(report.Result.Cause))
		}
		blind = blind && reports[n].Blind()
	}
	switch {
	case len(causes) > 0:
		return notFine(errors.New("calls fail: " + strings.Join(causes, ", ")))
	case blind:
		return errors.New("nothing could be read; the steps above name the missing rights")
	}
	return nil
}
