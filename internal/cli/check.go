package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/resource"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/check/report"
	"mtls.egress/webhook/internal/color"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
)

// The values of --fail-on.
const (
	failOnError   = "error"
	failOnWarning = "warning"
	failOnNone    = "none"
)

// defaultRulesURL is where the pages of the rules are in the repository.
const defaultRulesURL = "docs/reference/rules"

type checkFlags struct {
	resource.FilenameOptions
	connection    connectionFlags
	live          bool
	allNamespaces bool
	namespace     string
	strictFiles   bool
	output        string
	failOn        string
	expectTargets int
	listRules     bool
	disable       []string
	baseline      string
	writeBaseline string
	rulesURL      string
	rootNamespace string
	policy        policyFlags
	workloads     workloadFlag
}

func newCheckCommand() *cobra.Command {
	flags := &checkFlags{}
	cmd := &cobra.Command{
		Use:   "check (-f FILE | -k DIR | --live) [flags]",
		Short: "Find mistakes in manifests or in a cluster",
		Long: `Check finds mistakes that concern mutual TLS to external hosts: in the
annotations and objects of this project, in Istio objects that were written by
hand, and in client certificates in Secrets. Each rule has an ID, a severity and
a page in docs/reference/rules. It reads manifests as kubectl does, without a
cluster, or with --live the objects of a cluster with your own rights.

Files that are not Kubernetes manifests are skipped and counted, also templates
of Helm.

To accept a finding, write mtls.egress/accept-ID: REASON under
metadata.annotations of its object, or list all present findings in a file with
--write-baseline and pass it with --baseline.

Exit codes: 0 no finding of the severity in --fail-on; 1 there are such
findings, or --expect-targets differs; 2 invalid command line or input, or the
cluster can't be read. Except for text, a report of input that can't be read has
that as its findings (MTE114), and no other.`,
		Example: `  # All manifests of a repository
  mtls-egress-webhook check -R -f .

  # What Helm would install
  helm template shop ./chart | mtls-egress-webhook check -f -

  # A namespace of the cluster
  mtls-egress-webhook check --live -n project

  # For GitHub and GitLab
  mtls-egress-webhook check -R -f . -o github
  mtls-egress-webhook check -R -f . -o gitlab --fail-on none > check.json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			collectLess()
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return runCheck(ctx, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), flags, time.Now())
		},
	}
	flags.add(cmd)
	return cmd
}

func (f *checkFlags) add(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringSliceVarP(&f.Filenames, "filename", "f", nil,
		"files, directories, URLs or - (standard input) to read; repeatable")
	set.BoolVarP(&f.Recursive, "recursive", "R", false, "read the directories of -f recursively")
	set.StringVarP(&f.Kustomize, "kustomize", "k", "", "a kustomization directory, instead of -f")
	set.BoolVar(&f.live, "live", false, "read the objects of a cluster, instead of -f")
	set.StringVarP(&f.namespace, "namespace", "n", "",
		"the namespace of manifests without one, or with --live the namespace to check")
	set.BoolVarP(&f.allNamespaces, "all-namespaces", "A", false, "with --live, check all namespaces")
	set.BoolVar(&f.strictFiles, "strict-files", false, "fail on files that are not Kubernetes manifests")
	addOutput(cmd, &f.output, outputText, outputYAML, outputJSON, "sarif", "junit", "github (workflow commands)",
		"gitlab (Code Quality)")
	set.StringVar(&f.failOn, "fail-on", failOnError, "the least severity that fails: error, warning or none")
	set.IntVar(&f.expectTargets, "expect-targets", -1,
		"fail if the workloads of the input ask for another number of targets, so that a lost annotation is noticed")
	set.BoolVar(&f.listRules, "list-rules", false, "list the rules and exit")
	set.StringSliceVar(&f.disable, "disable", nil, "the IDs of rules to leave out")
	set.StringVar(&f.baseline, "baseline", "", "a file with findings to accept")
	set.StringVar(&f.writeBaseline, "write-baseline", "", "write the findings into this file, to accept them")
	set.StringVar(&f.rulesURL, "rules-url", defaultRulesURL, "the URL of the pages of the rules, for -o sarif")
	set.StringVar(&f.rootNamespace, "root-namespace", "istio-system", "the root namespace of the mesh")
	f.connection.add(cmd)
	f.policy.addFlags(set)
	f.workloads.addFlag(set)
}

func (f *checkFlags) validate() error {
	problems := oneInput(f.FilenameOptions, f.live)
	if f.live && (f.namespace == "") != f.allNamespaces {
		problems = append(problems, errors.New("--live: pass either -n NAMESPACE or -A"))
	}
	if f.allNamespaces && !f.live {
		problems = append(problems, errors.New("-A: is for --live"))
	}
	if !slices.Contains([]string{failOnError, failOnWarning, failOnNone}, f.failOn) {
		problems = append(problems, fmt.Errorf("--fail-on %s: the severities are error, warning and none", f.failOn))
	}
	for _, id := range f.disable {
		if !slices.ContainsFunc(check.Rules(), func(rule check.Rule) bool { return rule.ID == id }) {
			problems = append(problems, fmt.Errorf("--disable %s: no rule has this ID; see --list-rules", id))
		}
	}
	return wrongCommandLine(problems...)
}

// fails reports whether the finding makes the command fail.
func (f *checkFlags) fails(finding check.Finding) bool {
	if finding.Accepted != nil {
		return false
	}
	return f.failOn == failOnWarning || f.failOn == failOnError && finding.Rule.Severity == check.Error
}

func runCheck(
	ctx context.Context, in io.Reader, out, diagnostics io.Writer, flags *checkFlags, now time.Time,
) error {
	if flags.listRules {
		return listRules(out)
	}
	if err := flags.validate(); err != nil {
		return err
	}
	options, err := flags.options(now)
	if err != nil {
		return err
	}
	input, err := flags.read(ctx, in, diagnostics, options)
	if unreadable, ok := errors.AsType[*unreadableInputError](err); ok {
		return errors.Join(err, flags.writeUnreadable(out, unreadable.problems))
	}
	if err != nil {
		return err
	}
	result := check.Run(input.documents, options)
	result.Findings = slices.DeleteFunc(result.Findings, func(finding check.Finding) bool {
		return slices.Contains(flags.disable, finding.Rule.ID) || !input.includes(finding.Location.Namespace)
	})
	notes, err := flags.applyBaseline(result.Findings)
	if err != nil {
		return err
	}
	if err := writeNotes(diagnostics, printable(strings.Join(append(input.notes, notes...), ""))); err != nil {
		return err
	}
	outcome := report.Report{
		Findings: result.Findings, Objects: result.Objects, Files: input.files, Skipped: input.skipped,
		Version: ownVersion(), RulesURL: flags.rulesURL, Fails: flags.fails, Color: color.Wanted(out),
	}
	if err := flags.write(out, outcome); err != nil {
		return err
	}
	return notFine(flags.failure(result))
}

// writeUnreadable writes a report of input that can't be read. Other findings could be wrong
// without it, so they are left out. People read it in the error.
func (f *checkFlags) writeUnreadable(out io.Writer, problems []manifests.Problem) error {
	if f.output == outputText {
		return nil
	}
	return f.write(out, report.Report{
		Findings: check.Unreadable(problems), Version: ownVersion(), RulesURL: f.rulesURL,
		Fails: func(check.Finding) bool { return true },
	})
}

// write writes the report, without characters that a terminal interprets. Text is written without
// them, except for colors.
func (f *checkFlags) write(out io.Writer, outcome report.Report) error {
	var written bytes.Buffer
	if err := report.Formats()[f.output](&written, outcome); err != nil {
		return err
	}
	content := written.Bytes()
	switch f.output {
	case outputJSON, "sarif", "gitlab":
		content = printableJSON(content)
	case "junit", outputYAML:
		content = []byte(printable(written.String()))
	}
	_, err := out.Write(content)
	return err
}

// options returns the options of the rules.
func (f *checkFlags) options(now time.Time) (manifests.Options, error) {
	cluster, wrong := f.policy.cluster()
	workloads, err := f.workloads.kinds()
	if err != nil {
		wrong = append(wrong, err)
	}
	options := manifests.Options{RootNamespace: f.rootNamespace, Workloads: workloads, Policy: cluster, Now: now}
	if !f.live {
		options.Namespace = f.namespace
	}
	return options, wrongCommandLine(wrong...)
}

// failure returns an error if the command fails.
func (f *checkFlags) failure(result check.Result) error {
	var problems []error
	failing := 0
	for _, finding := range result.Findings {
		if f.fails(finding) {
			failing++
		}
	}
	if failing > 0 && f.writeBaseline == "" {
		failed := "the check failed: " + egress.Counted(failing, "finding")
		if failing < len(result.Findings) {
			failed = fmt.Sprintf("the check failed: %d of %d findings", failing, len(result.Findings))
		}
		problems = append(problems, errors.New(failed))
	}
	if f.expectTargets >= 0 && result.Targets != f.expectTargets {
		problems = append(problems, fmt.Errorf("--expect-targets: the workloads ask for %s, want %d: check that "+
			"the annotation mtls.egress/target is in the output of your templates",
			egress.Counted(result.Targets, "target"), f.expectTargets))
	}
	return errors.Join(problems...)
}

// applyBaseline accepts the findings of the baseline, and writes the new one. The notes list what
// is gone.
func (f *checkFlags) applyBaseline(findings []check.Finding) (notes []string, err error) {
	if f.baseline != "" {
		content, err := os.ReadFile(f.baseline)
		if err != nil {
			return nil, fmt.Errorf("--baseline: %w", err)
		}
		baseline, err := check.ReadBaseline(content)
		if err != nil {
			return nil, fmt.Errorf("--baseline: %s %w", f.baseline, err)
		}
		for _, key := range baseline.Accept(findings) {
			if slices.Contains(f.disable, key.Rule) {
				continue
			}
			notes = append(notes, fmt.Sprintf("Note: %s: this finding is gone; remove it with --write-baseline %s: %s\n",
				f.baseline, f.baseline, key))
		}
	}
	if f.writeBaseline == "" {
		return notes, nil
	}
	encoded, err := check.NewBaseline(findings).Encode()
	if err != nil {
		return nil, err
	}
	const readable = 0o644
	if err := os.WriteFile(f.writeBaseline, encoded, readable); err != nil {
		return nil, fmt.Errorf("--write-baseline: %w", err)
	}
	return notes, nil
}

// listRules prints the rules as a table.
func listRules(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, rule := range check.Rules() {
		if _, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", rule.ID, rule.Severity, rule.Name, rule.Summary); err != nil {
			return err
		}
	}
	return table.Flush()
}
