package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/resource"

	"mtls.egress/webhook/internal/adopt"
	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
)

type adoptFlags struct {
	resource.FilenameOptions
	connection connectionFlags
	workloads  workloadFlag
	namespace  string
	output     string
	live       bool
	dryRun     bool
	apply      bool
	back       bool
	timeout    time.Duration
}

func newAdoptCommand() *cobra.Command {
	flags := &adoptFlags{}
	cmd := &cobra.Command{
		Use:   "adopt (-f FILE | -k DIR | --live) [HOST...] [flags]",
		Short: "Replace hand-written egress mTLS by targets",
		Long: `Read hand-written Istio objects for mutual TLS to external hosts, and the
workloads that use them. For each host, print the annotation and the
EgressTarget that take their place, what can't be carried over, and what changes
for calls. With hosts, only for these.

With --apply, do it in the cluster, step by step. Before a step is taken, the
one before it is proven: by the conditions of the EgressTarget, by the
configuration of the sidecars, and by their counters, which must not show a
failed call. If a proof fails, the steps are undone. --back restores the
hand-written objects. The command needs the rights to read and write the objects
and workloads of the namespace, ConfigMaps among them, and to create
pods/portforward.

Exit codes: 0 done; 1 some set can't be taken over, or a step is not proven and
undone; 2 invalid command line or input, or the cluster can't be read or
changed.`,
		Example: `  # What would take the place of the objects of a namespace?
  mtls-egress-webhook adopt --live -n project

  # Which steps are these, and how would kubectl take them?
  mtls-egress-webhook adopt --live -n project external.system.com --dry-run

  # Take them, and go back
  mtls-egress-webhook adopt --live -n project external.system.com --apply
  mtls-egress-webhook adopt --live -n project external.system.com --back

  # For GitOps: the EgressTargets and the annotated workloads
  mtls-egress-webhook adopt -k overlays/production -o yaml`,
		RunE: func(cmd *cobra.Command, hosts []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return flags.run(ctx, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), hosts)
		},
	}
	set := cmd.Flags()
	set.StringSliceVarP(&flags.Filenames, "filename", "f", nil,
		"files, directories, URLs or - (standard input) to read; repeatable")
	set.BoolVarP(&flags.Recursive, "recursive", "R", false, "read the directories of -f recursively")
	set.StringVarP(&flags.Kustomize, "kustomize", "k", "", "a kustomization directory, instead of -f")
	set.BoolVar(&flags.live, "live", false, "read the objects and workloads of a namespace from the cluster")
	set.StringVarP(&flags.namespace, "namespace", "n", "",
		"the namespace to read with --live (default: that of the context), or that of manifests without one")
	addOutput(cmd, &flags.output, outputText, "yaml (the manifests to commit)", "json (the same, as one List)")
	set.BoolVar(&flags.dryRun, "dry-run", false, "also print the steps, with the commands of kubectl for each")
	set.BoolVar(&flags.apply, "apply", false, "take the steps in the cluster; needs --live")
	set.BoolVar(&flags.back, "back", false,
		"restore the hand-written objects of the hosts that --apply replaced; needs --live and hosts")
	set.DurationVar(&flags.timeout, "timeout", 5*time.Minute, "how long one step of --apply and --back can take")
	flags.connection.add(cmd)
	flags.workloads.addFlag(set)
	return cmd
}

func (f *adoptFlags) validate(hosts []string) error {
	problems := oneInput(f.FilenameOptions, f.live)
	if (f.apply || f.back) && !f.live {
		problems = append(problems, errors.New("--apply and --back need --live"))
	}
	if f.apply && f.back {
		problems = append(problems, errors.New("--apply and --back are mutually exclusive"))
	}
	if f.back && len(hosts) == 0 {
		problems = append(problems, errors.New("--back needs the hosts to restore"))
	}
	if f.output != outputText && (f.apply || f.back || f.dryRun) {
		problems = append(problems, fmt.Errorf("-o %s prints manifests, and --dry-run, --apply and --back print steps; "+
			"pass one of them", f.output))
	}
	return wrongCommandLine(problems...)
}

func (f *adoptFlags) run(ctx context.Context, in io.Reader, out, diagnostics io.Writer, hosts []string) error {
	if err := f.validate(hosts); err != nil {
		return err
	}
	kinds, err := f.workloads.kinds()
	if err != nil {
		return err
	}
	options := manifests.Options{Namespace: f.namespace, Workloads: kinds}
	if !f.live {
		documents, err := readDocuments(in, f.FilenameOptions)
		if err != nil {
			return err
		}
		return f.propose(out, diagnostics, check.NewWorld(documents, options), hosts)
	}
	cluster, err := f.connect(options, diagnostics)
	if err != nil {
		return err
	}
	tell := func(sentence string) { _, _ = fmt.Fprintln(out, printable(f.connection.typed(sentence))) }
	if f.back {
		return cluster.back(ctx, hosts, f.dryRun, tell)
	}
	world, err := cluster.read(ctx)
	if err != nil {
		return err
	}
	if !f.apply || f.dryRun {
		return f.propose(out, diagnostics, world, hosts)
	}
	if err := unreadable(world); err != nil {
		return err
	}
	proposals := adopt.Propose(world, hosts)
	if err := notFine(refusals(proposals, hosts)); err != nil {
		return err
	}
	if len(proposals) == 0 {
		tell(nothingFound)
		return nil
	}
	return cluster.apply(ctx, proposals, tell)
}

// nothingFound is printed instead of proposals.
const nothingFound = "No DestinationRule of the input presents a client certificate, so there is nothing to take over."

// propose prints the proposals for the objects.
func (f *adoptFlags) propose(out, diagnostics io.Writer, world *check.World, hosts []string) error {
	if err := unreadable(world); err != nil {
		return err
	}
	return f.print(out, diagnostics, adopt.Propose(world, hosts), hosts)
}

// unreadable returns an error if objects can't be decoded.
func unreadable(world *check.World) error {
	var problems []error
	for _, problem := range adopt.Unreadable(world) {
		problems = append(problems, errors.New(printable(problem.Error())))
	}
	if len(problems) == 0 {
		return nil
	}
	return errors.Join(problems...)
}

// print prints the proposals, and returns an error if any set can't be taken over.
func (f *adoptFlags) print(out, diagnostics io.Writer, proposals []adopt.Proposal, hosts []string) error {
	if len(proposals) == 0 && len(hosts) == 0 {
		told := out
		if f.output != outputText {
			told = diagnostics
		}
		if _, err := fmt.Fprintln(told, nothingFound); err != nil || f.output == outputText {
			return err
		}
	}
	if f.output != outputText {
		objects, err := adopt.Manifests(proposals)
		if err != nil {
			return err
		}
		encoded, err := encode(objects, f.output)
		if err != nil {
			return err
		}
		if _, err := out.Write(encoded); err != nil {
			return err
		}
		if err := writeNotes(diagnostics, printable(leftover(proposals))); err != nil {
			return err
		}
		return notFine(refusals(proposals, hosts))
	}
	for n, proposal := range proposals {
		text, err := f.describe(proposal)
		if err != nil {
			return err
		}
		if n > 0 {
			text = "\n" + text
		}
		if _, err := io.WriteString(out, printable(text)); err != nil {
			return err
		}
	}
	return notFine(refusedHosts(proposals, hosts))
}

// describe returns the proposal and, with --dry-run, its steps.
func (f *adoptFlags) describe(proposal adopt.Proposal) (string, error) {
	text, err := proposal.Text()
	if err != nil || !f.dryRun || len(proposal.Refused) > 0 {
		return text, err
	}
	steps, err := adopt.Steps(proposal)
	return text + "\n" + adopt.StepsText(steps), err
}

// leftover lists what the manifests replace.
func leftover(proposals []adopt.Proposal) string {
	var text strings.Builder
	for _, proposal := range proposals {
		for _, object := range proposal.Objects {
			what := "the"
			if len(object.Others) > 0 {
				what = "the host from the"
			}
			fmt.Fprintf(&text, "%s: when the Pods are replaced, remove %s %s %s\n", proposal.Host, what,
				object.Location.Kind, object.Location.Name)
		}
	}
	return text.String()
}

// refusedHosts returns an error that lists the hosts whose sets can't be taken over, after a text
// with the reasons.
func refusedHosts(proposals []adopt.Proposal, hosts []string) error {
	var refused []string
	for _, proposal := range proposals {
		if len(proposal.Refused) > 0 {
			refused = append(refused, proposal.Host)
		}
	}
	if len(refused) == 0 {
		return refusals(proposals, hosts)
	}
	return fmt.Errorf("%d of %s can't be taken over: %s", len(refused), egress.Counted(len(proposals), "set"),
		strings.Join(refused, ", "))
}

// refusals returns an error that lists the sets that can't be taken over, and the hosts without
// one.
func refusals(proposals []adopt.Proposal, hosts []string) error {
	var problems []error
	for _, proposal := range proposals {
		for _, reason := range proposal.Refused {
			problems = append(problems, fmt.Errorf("%s: %s", proposal.Host, reason))
		}
	}
	if len(proposals) == 0 && len(hosts) > 0 {
		problems = append(problems, fmt.Errorf("no DestinationRule of the input presents a client certificate to %s",
			strings.Join(hosts, " or ")))
	}
	return errors.Join(problems...)
}
