package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/resource"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mutate"
)

// The values of --show.
const (
	showManifests = "manifests"
	showPods      = "pods"
	showObjects   = "objects"
)

type renderFlags struct {
	resource.FilenameOptions
	namespace     string
	output        string
	show          []string
	explain       bool
	rootNamespace string
	policy        policyFlags
	workloads     workloadFlag
}

func newRenderCommand() *cobra.Command {
	flags := &renderFlags{}
	cmd := &cobra.Command{
		Use:   "render (-f FILE | -k DIR) [flags]",
		Short: "Show what admission and the controller make of manifests",
		Long: `Render reads manifests as kubectl does. It prints them after admission, then the
Pods of annotated workloads as PodTemplates, then the Istio objects of their
targets as the controller would write them. A target that the controller would
close is printed closed. Render takes EgressTargets, Secrets and Namespaces
among the manifests into account. Documents without a target pass through
unchanged and in order.

Exit codes: 0 done; 1 rejected by a rule, with all problems on standard error
and nothing on standard output; 2 invalid command line or input. Warnings and
explanations go to standard error.`,
		Example: `  # What would admission and the controller do with these?
  mtls-egress-webhook render -f examples/egress --explain

  # Only the Istio objects
  mtls-egress-webhook render -f . --show objects

  # As a Helm post-renderer in front of a cluster that has the webhook
  helm template shop ./chart \
    | mtls-egress-webhook render -f - --show manifests`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			collectLess()
			return runRender(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), flags, time.Now())
		},
	}
	set := cmd.Flags()
	set.StringSliceVarP(&flags.Filenames, "filename", "f", nil,
		"files, directories, URLs or - (standard input) to read; repeatable")
	set.BoolVarP(&flags.Recursive, "recursive", "R", false, "read the directories of -f recursively")
	set.StringVarP(&flags.Kustomize, "kustomize", "k", "", "a kustomization directory, instead of -f")
	set.StringVarP(&flags.namespace, "namespace", "n", "",
		"the namespace of manifests without one (default: their objects have none either)")
	addOutput(cmd, &flags.output, outputYAML, "json (one List)")
	set.StringSliceVar(&flags.show, "show", []string{showManifests, showPods, showObjects},
		"the parts to print: manifests, pods, objects")
	set.BoolVar(&flags.explain, "explain", false,
		"print one sentence per target on standard error: the call, its destination, the client certificate, and the "+
			"name and CA that the server is checked against")
	set.StringVar(&flags.rootNamespace, "root-namespace", "istio-system", "the root namespace of the mesh")
	flags.policy.addFlags(set)
	flags.workloads.addFlag(set)
	return cmd
}

func (f *renderFlags) validate() error {
	var problems []error
	if len(f.Filenames) == 0 && f.Kustomize == "" {
		problems = append(problems, errors.New("no input: pass -f FILE|DIR|- or -k DIR"))
	}
	if len(f.Filenames) > 0 && f.Kustomize != "" {
		problems = append(problems, errors.New("-f and -k are mutually exclusive"))
	}
	for _, part := range f.show {
		if !slices.Contains([]string{showManifests, showPods, showObjects}, part) {
			problems = append(problems, fmt.Errorf("--show %s: the parts are manifests, pods and objects", part))
		}
	}
	return wrongCommandLine(problems...)
}

// refusedError lists all problems of the input, one per line.
type refusedError []manifests.Problem

func (e refusedError) Error() string {
	var lines []string
	for _, problem := range e {
		lines = append(lines, problem.String())
	}
	return printable(strings.Join(append(lines, policyHints(e)...), "\n"))
}

// policyHints is a line about the flags of the policy if one of the problems is that it doesn't
// allow a host.
func policyHints(problems []manifests.Problem) []string {
	if slices.ContainsFunc(problems, func(problem manifests.Problem) bool {
		return problem.Reason == manifests.Reason(mutate.ReasonNotAllowed)
	}) {
		return []string{check.PassPolicy}
	}
	return nil
}

func runRender(in io.Reader, out, diagnostics io.Writer, flags *renderFlags, now time.Time) error {
	if err := flags.validate(); err != nil {
		return err
	}
	cluster, wrong := flags.policy.cluster()
	workloads, err := flags.workloads.kinds()
	if err != nil {
		wrong = append(wrong, err)
	}
	if len(wrong) > 0 {
		return wrongCommandLine(wrong...)
	}
	documents, err := readDocuments(in, flags.FilenameOptions)
	if err != nil {
		return err
	}
	rendered, problems := manifests.Render(documents, manifests.Options{
		Namespace: flags.namespace, RootNamespace: flags.rootNamespace, Workloads: workloads, Policy: cluster, Now: now,
	})
	if len(problems) > 0 {
		return notFine(refusedError(problems))
	}
	encoded, err := encode(selected(rendered, flags.show), flags.output)
	if err != nil {
		return err
	}
	if err := writeNotes(diagnostics, remarks(rendered, flags.explain)); err != nil {
		return err
	}
	_, err = out.Write(encoded)
	return err
}

// remarks returns the warnings and explanations.
func remarks(rendered *manifests.Output, explain bool) string {
	var text strings.Builder
	for _, warning := range rendered.Warnings {
		text.WriteString("Warning: " + warning.String() + "\n")
	}
	for _, hint := range policyHints(rendered.Warnings) {
		text.WriteString(hint + "\n")
	}
	if explain {
		for _, sentence := range rendered.Explanations {
			text.WriteString(sentence + "\n")
		}
	}
	return printable(text.String())
}

func selected(rendered *manifests.Output, show []string) []map[string]any {
	var objects []map[string]any
	for _, part := range []struct {
		name    string
		objects []map[string]any
	}{{showManifests, rendered.Documents}, {showPods, rendered.Pods}, {showObjects, rendered.Objects}} {
		if slices.Contains(show, part.name) {
			objects = append(objects, part.objects...)
		}
	}
	return objects
}

// encode encodes objects as YAML documents or, like kubectl, as one JSON List.
func encode(objects []map[string]any, format string) ([]byte, error) {
	if format == outputJSON {
		list := map[string]any{"apiVersion": "v1", "kind": "List", "items": objects}
		if objects == nil {
			list["items"] = []any{}
		}
		encoded, err := json.MarshalIndent(list, "", "    ")
		return append(encoded, '\n'), err
	}
	return manifests.YAML(objects)
}
