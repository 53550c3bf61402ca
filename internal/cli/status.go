package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
)

type statusFlags struct {
	connectionFlags
	namespace     string
	allNamespaces bool
	output        string
}

func newStatusCommand() *cobra.Command {
	flags := &statusFlags{}
	cmd := &cobra.Command{
		Use:   "status [-n NAMESPACE | -A] [flags]",
		Short: "List targets and the workloads that ask for them",
		Long: `Print one line for each target and one for each workload that asks for one. The
lines of targets have what kubectl get egresstargets shows, and which of the
Pods that ask were injected. The lines of workloads have their targets, and how
many of their Pods were injected, have a sidecar and are ready. A Pod that asks
and was not injected calls in plain text, or not at all: explain says why.

The command needs get and list of EgressTargets and Pods. It changes nothing.

Exit codes: 0 all targets are ready and all Pods that ask are injected; 1 some
aren't; 2 invalid command line, or the cluster could not be read.`,
		Example: `  mtls-egress-webhook status -n project

  mtls-egress-webhook status -A -o wide`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStatus(cmd.Context(), cmd.OutOrStdout(), flags.progress(cmd.ErrOrStderr()), flags, time.Now())
		},
	}
	flags.add(cmd)
	set := cmd.Flags()
	set.StringVarP(&flags.namespace, "namespace", "n", "", "the namespace (default: that of the kubeconfig context)")
	set.BoolVarP(&flags.allNamespaces, "all-namespaces", "A", false, "list all namespaces")
	addOutput(cmd, &flags.output, outputText, "wide (with messages and Istio versions)", outputYAML, outputJSON)
	return cmd
}

func (f *statusFlags) validate() error {
	var problems []error
	if f.namespace != "" && f.allNamespaces {
		problems = append(problems, errors.New("--namespace and --all-namespaces can't both be set"))
	}
	if errs := validation.IsDNS1123Label(f.namespace); f.namespace != "" && len(errs) > 0 {
		problems = append(problems, fmt.Errorf("--namespace %s: %s", printable(f.namespace), strings.Join(errs, "; ")))
	}
	return wrongCommandLine(problems...)
}

// targetLine is the line of a target.
type targetLine struct {
	Namespace string   `json:"namespace"`
	Host      string   `json:"host"`
	Ready     string   `json:"ready"`
	Reason    string   `json:"reason,omitempty"`
	Secrets   []string `json:"secrets,omitempty"`
	// Expires is when the first certificate expires.
	Expires *time.Time `json:"expires,omitempty"`
	// Asking counts the Pods whose annotation asks for the host, and Injected those of them that were
	// injected.
	Asking    int      `json:"asking"`
	Injected  int      `json:"injected"`
	Workloads []string `json:"workloads,omitempty"`
	Message   string   `json:"message,omitempty"`
}

// workloadLine is the line of a workload, or of a single Pod.
type workloadLine struct {
	Namespace string   `json:"namespace"`
	Workload  string   `json:"workload"`
	Targets   []string `json:"targets"`
	Pods      int      `json:"pods"`
	Injected  int      `json:"injected"`
	Sidecars  int      `json:"sidecars"`
	Ready     int      `json:"ready"`
	// Versions are the Istio versions of the sidecars.
	Versions []string `json:"versions,omitempty"`
}

// survey is what status prints.
type survey struct {
	Targets   []targetLine   `json:"targets"`
	Workloads []workloadLine `json:"workloads"`
}

func runStatus(ctx context.Context, out io.Writer, shown progress, flags *statusFlags, now time.Time) error {
	if err := flags.validate(); err != nil {
		return err
	}
	c, err := flags.client(usersTimeout, corev1.AddToScheme, v1alpha1.AddToScheme)
	if err != nil {
		return err
	}
	var within []client.ListOption
	if !flags.allNamespaces {
		namespace := flags.namespace
		if namespace == "" {
			if namespace, _, err = clientConfig(flags.kubeconfig, flags.context).Namespace(); err != nil {
				return err
			}
		}
		within = append(within, client.InNamespace(namespace))
	}
	done := shown.wait("reading the EgressTargets and Pods")
	found, err := readSurvey(ctx, c, within)
	done()
	if err != nil {
		return err
	}
	if err := found.write(out, flags, now); err != nil {
		return err
	}
	return found.err()
}

// readSurvey reads EgressTargets and Pods.
func readSurvey(ctx context.Context, c client.Reader, within []client.ListOption) (survey, error) {
	type key struct{ namespace, name string }
	targets, workloads := map[key]*targetLine{}, map[key]*workloadLine{}
	target := func(namespace, host string) *targetLine {
		line, known := targets[key{namespace, host}]
		if !known {
			line = &targetLine{Namespace: namespace, Host: host, Ready: "-", Reason: "NotProcessed"}
			targets[key{namespace, host}] = line
		}
		return line
	}
	err := listAll(ctx, c, &v1alpha1.EgressTargetList{}, "EgressTargets", func(item client.Object) error {
		if each, ok := item.(*v1alpha1.EgressTarget); ok {
			target(each.Namespace, each.Name).describe(each)
		}
		return nil
	}, within...)
	if err != nil {
		return survey{}, err
	}
	err = listAll(ctx, c, &corev1.PodList{}, "Pods", func(item client.Object) error {
		pod, ok := item.(*corev1.Pod)
		if !ok || informers.NewPod(pod, egress.Sinkhole{}).Ended() {
			return nil
		}
		hosts := podHosts(pod)
		if len(hosts) == 0 {
			return nil
		}
		at := key{pod.Namespace, workloadOf(pod)}
		if workloads[at] == nil {
			workloads[at] = &workloadLine{Namespace: pod.Namespace, Workload: at.name}
		}
		workloads[at].add(pod, hosts)
		for _, host := range hosts {
			target(pod.Namespace, host).add(pod, at.name)
		}
		return nil
	}, within...)
	if err != nil {
		return survey{}, err
	}
	found := survey{Targets: []targetLine{}, Workloads: []workloadLine{}}
	for _, line := range targets {
		found.Targets = append(found.Targets, *line)
	}
	for _, line := range workloads {
		found.Workloads = append(found.Workloads, *line)
	}
	slices.SortFunc(found.Targets, func(a, b targetLine) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Host, b.Host))
	})
	slices.SortFunc(found.Workloads, func(a, b workloadLine) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Workload, b.Workload))
	})
	return found, nil
}

// podHosts returns the hosts in the annotation of a Pod or, if that can't be read, in its labels.
func podHosts(pod *corev1.Pod) []string {
	intent, _, _ := egress.ParseIntent(pod.Annotations, field.NewPath("metadata", "annotations"))
	if hosts := intent.Hosts(); len(hosts) > 0 {
		return hosts
	}
	return informers.PodHosts(pod)
}

// workloadOf names the workload of a Pod, as KIND/NAME.
func workloadOf(pod *corev1.Pod) string {
	if owner := informers.NewPod(pod, egress.Sinkhole{}).Owner(); owner.Name != "" {
		return owner.Kind + "/" + owner.Name
	}
	return kindPod + "/" + pod.Name
}

// describe sets what the EgressTarget says.
func (l *targetLine) describe(egressTarget *v1alpha1.EgressTarget) {
	status := egressTarget.Status
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); ready != nil {
		l.Ready, l.Reason, l.Message = string(ready.Status), ready.Reason, ready.Message
	}
	for _, each := range status.Credentials {
		l.Secrets = append(l.Secrets, each.SecretName)
	}
	if status.NotAfter != nil {
		l.Expires = new(status.NotAfter.UTC())
	}
}

// add counts a Pod of the target.
func (l *targetLine) add(pod *corev1.Pod, workload string) {
	l.Asking++
	if isInjected(pod, l.Host) {
		l.Injected++
	}
	if !slices.Contains(l.Workloads, workload) {
		l.Workloads = append(l.Workloads, workload)
		slices.Sort(l.Workloads)
	}
}

// add counts a Pod of the workload.
func (l *workloadLine) add(pod *corev1.Pod, hosts []string) {
	l.Pods++
	if !slices.ContainsFunc(hosts, func(host string) bool { return !isInjected(pod, host) }) {
		l.Injected++
	}
	if egress.HasSidecar(pod) {
		l.Sidecars++
	}
	if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}) {
		l.Ready++
	}
	if version := egress.ProxyVersion(pod); version != "" {
		l.Versions = append(l.Versions, version)
	}
	l.Targets = append(l.Targets, hosts...)
	for _, texts := range []*[]string{&l.Targets, &l.Versions} {
		slices.Sort(*texts)
		*texts = slices.Compact(*texts)
	}
}

func isInjected(pod *corev1.Pod, host string) bool {
	return pod.Labels[egress.LabelInjected] == egress.LabelValue && pod.Labels[egress.HostLabel(host)] == egress.LabelValue
}

// err returns an error if a target isn't ready, or a Pod was not injected.
func (s survey) err() error {
	targets, pods := 0, 0
	for _, line := range s.Targets {
		if line.Ready != "True" {
			targets++
		}
	}
	for _, line := range s.Workloads {
		pods += line.Pods - line.Injected
	}
	if targets == 0 && pods == 0 {
		return nil
	}
	return notFine(fmt.Errorf("%s not ready, %s not injected; run mtls-egress-webhook explain for one of them",
		egress.Counted(targets, "target"), egress.Counted(pods, "Pod")))
}

// write prints the survey.
func (s survey) write(out io.Writer, flags *statusFlags, now time.Time) error {
	encoded, err := encodeResult(s, flags.output, func() string { return s.text(flags.output == outputWide, now) })
	if err != nil {
		return err
	}
	_, err = out.Write(encoded)
	return err
}

// text returns the two tables.
func (s survey) text(wide bool, now time.Time) string {
	targets := [][]string{{"NAMESPACE", "TARGET", "READY", "REASON", "SECRET", "EXPIRES", "INJECTED", "WORKLOADS"}}
	workloads := [][]string{{"NAMESPACE", "WORKLOAD", "TARGETS", "INJECTED", "SIDECARS", "READY"}}
	if wide {
		targets[0], workloads[0] = append(targets[0], "MESSAGE"), append(workloads[0], "ISTIO")
	}
	for _, line := range s.Targets {
		row := []string{
			line.Namespace, line.Host, line.Ready, line.Reason, listed(line.Secrets), line.expiry(now),
			share(line.Injected, line.Asking), listed(line.Workloads),
		}
		if wide {
			row = append(row, line.Message)
		}
		targets = append(targets, row)
	}
	for _, line := range s.Workloads {
		row := []string{
			line.Namespace, line.Workload, listed(line.Targets), share(line.Injected, line.Pods),
			share(line.Sidecars, line.Pods), share(line.Ready, line.Pods),
		}
		if wide {
			row = append(row, listed(line.Versions))
		}
		workloads = append(workloads, row)
	}
	return table(targets) + "\n" + table(workloads)
}

// expiry formats the days until the first certificate expires.
func (l targetLine) expiry(now time.Time) string {
	if l.Expires == nil {
		return "-"
	}
	return fmt.Sprintf("%s (%dd)", l.Expires.Format(time.DateOnly), credential.DaysLeft(*l.Expires, now))
}

func share(part, whole int) string { return fmt.Sprintf("%d/%d", part, whole) }

func listed(texts []string) string {
	if len(texts) == 0 {
		return "-"
	}
	return strings.Join(texts, ",")
}

// table returns rows in columns. Text from the cluster can't change the terminal.
func table(rows [][]string) string {
	var text strings.Builder
	columns := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		for n := range row {
			row[n] = egress.Printable(row[n])
		}
		// A strings.Builder takes everything.
		_, _ = fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	_ = columns.Flush()
	return text.String()
}
