package cli

import (
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	cliflag "k8s.io/component-base/cli/flag"

	"mtls.egress/webhook/internal/app"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/plan"
)

func newServeControllerCommand() *cobra.Command {
	options := &controllerOptions{}
	return serverCommand(&cobra.Command{
		Use:   "controller [flags]",
		Short: "Program targets",
		Long: `Program targets: generate the Istio objects of each EgressTarget, check its
credentials, and write its status. Only the leader does so. A replica that loses
its Lease exits and must be restarted. The controller runs without the webhook.
If Istio's CRDs are missing, the condition Programmed of each EgressTarget
reports it.

On SIGTERM or SIGINT, the controller finishes running reconciliations and
releases the Lease. A second signal ends the process immediately.`,
	}, options, &options.log)
}

type controllerOptions struct {
	processFlags
	workloads workloadFlag

	leaderElect     bool
	targetRetention time.Duration
	expiryWarnings  []time.Duration
	verifyTargets   string
	verifyInterval  time.Duration
	surveyInterval  time.Duration
	readOwners      bool
	teamLabels      []string
}

func (o *controllerOptions) flags() cliflag.NamedFlagSets {
	var groups cliflag.NamedFlagSets

	program := groups.FlagSet("controller")
	program.BoolVar(&o.leaderElect, "leader-elect", true,
		"Enable leader election: only the leader programs targets, and the other replicas are on standby.")
	program.DurationVar(&o.targetRetention, "target-retention", 10*time.Minute,
		"How long the controller keeps an EgressTarget that it created after its last Pod is gone.")
	program.DurationSliceVar(&o.expiryWarnings, "expiry-warnings", plan.DefaultExpiryWarnings(),
		"How long before a client certificate expires the controller warns, with a condition and "+
			"an event for each. For a short-lived certificate it warns when a third of its lifetime is left, or a "+
			"fifth if cert-manager renews it.")
	program.StringVar(&o.verifyTargets, "verify-targets", string(controller.VerifyOff),
		"Which targets to verify: the controller makes a TLS handshake with the partner, with the same "+
			"credential but without a request. Use off, marked (EgressTargets with spec.verify: true) or all (except "+
			"for those with spec.verify: false). Without a value: all.")
	program.Lookup("verify-targets").NoOptDefVal = string(controller.VerifyAll)
	program.DurationVar(&o.verifyInterval, "verify-interval", controller.DefaultVerifyInterval,
		"How often to verify an unchanged credential again. A changed one is verified immediately.")
	program.DurationVar(&o.surveyInterval, "survey-interval", controller.DefaultSurveyInterval,
		"How often to check all Pods for those that request a target but were not "+
			"injected, because they were created without the webhook.")
	program.BoolVar(&o.readOwners, "read-owners", true,
		"Read the metadata of the owners of Pods, such as Deployments. Events on them are then shown by "+
			"kubectl describe, and each survey also finds annotations on kinds that are not in --workloads, which have no "+
			"effect. Needs the right to get and list these kinds; kinds that can't be read are left out.")
	program.StringSliceVar(&o.teamLabels, "team-labels", controller.DefaultTeamLabels(),
		"The labels with the team that owns a target, for the metric mtls_egress_target_owner. The first label "+
			"that the EgressTarget has counts, or else the first that its namespace has. Empty: no such metric.")
	o.workloads.addFlag(program)

	o.add(&groups, "the Lease for leader election")
	return groups
}

func (o *controllerOptions) validate() error {
	problems := flagProblems{}
	if o.targetRetention <= 0 {
		problems.refusef("target-retention", "%s is not positive; use 1s for almost no retention", o.targetRetention)
	}
	if !slices.Contains([]controller.VerifyTargets{controller.VerifyOff, controller.VerifyMarked, controller.VerifyAll},
		controller.VerifyTargets(o.verifyTargets)) {
		problems.refusef("verify-targets", "%q is not one of off, marked, all", o.verifyTargets)
	}
	if o.verifyInterval < time.Minute {
		problems.refusef("verify-interval", "%s is less than the minimum of 1m, which protects partners from load",
			o.verifyInterval)
	}
	if o.surveyInterval < time.Second {
		problems.refusef("survey-interval",
			"%s is less than the minimum of 1s; each survey reads the metadata of all Pods", o.surveyInterval)
	}
	if _, err := o.workloads.kinds(); err != nil {
		problems = append(problems, err)
	}
	for _, label := range o.teamLabels {
		for _, problem := range validation.IsQualifiedName(label) {
			problems.refusef("team-labels", "%q is not the key of a label: %s", label, problem)
		}
	}
	for _, period := range o.expiryWarnings {
		if period <= 0 {
			problems.refusef("expiry-warnings", "%s is not positive", period)
		}
	}
	return wrongCommandLine(append(problems, o.processFlags.validate(map[int]string{})...)...)
}

func (o *controllerOptions) run(log logr.Logger) error {
	process, err := o.process(log)
	if err != nil {
		return err
	}
	kinds, err := o.workloads.kinds()
	if err != nil {
		return err
	}
	return app.Controller{
		Process:        process,
		LeaderElection: o.leaderElect,
		Namespace:      o.namespace,
		Options: controller.Options{
			TargetRetention: o.targetRetention,
			ExpiryWarnings:  o.expiryWarnings,
			VerifyTargets:   controller.VerifyTargets(o.verifyTargets),
			VerifyInterval:  o.verifyInterval,
			SurveyInterval:  o.surveyInterval,
			ReadOwners:      o.readOwners,
			TeamLabels:      o.teamLabels,
			Workloads:       kinds,
		},
	}.Run()
}
