package cli

import (
	"errors"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
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
		Long: `Program targets: generate the Istio objects of each EgressTarget, check its credentials, and write its status. One replica, the
leader, does so; it ends when it loses its Lease, and has to be started again. It needs no webhook. While Istio's CRDs are
missing, each EgressTarget says so in its condition Programmed.

On SIGTERM or SIGINT it completes what is under way and releases the Lease. A second signal ends the process at once.`,
	}, options, &options.log)
}

// controllerOptions are the flags of serve controller.
type controllerOptions struct {
	processFlags

	leaderElect     bool
	targetRetention time.Duration
	expiryWarnings  []time.Duration
	verifyTargets   string
	verifyInterval  time.Duration
	surveyInterval  time.Duration
}

func (o *controllerOptions) flags() cliflag.NamedFlagSets {
	var groups cliflag.NamedFlagSets

	program := groups.FlagSet("controller")
	program.BoolVar(&o.leaderElect, "leader-elect", true, "Let only one replica at a time program targets. The others are on standby.")
	program.DurationVar(&o.targetRetention, "target-retention", 10*time.Minute, "How long an EgressTarget that the controller made stays after its last Pod is gone.")
	program.DurationSliceVar(&o.expiryWarnings, "expiry-warnings", plan.DefaultExpiryWarnings(), "How long before its end a client certificate is warned of, by a condition and "+
		"an event for each. A certificate of a short life is warned of when a third of it is left, or a fifth where cert-manager renews it.")
	program.StringVar(&o.verifyTargets, "verify-targets", string(controller.VerifyOff), "Which targets are verified: the controller makes a TLS handshake with the partner, with the very "+
		"credential and without a request. off, marked for EgressTargets with spec.verify: true, or all but those with spec.verify: false. Without a value: all.")
	program.Lookup("verify-targets").NoOptDefVal = string(controller.VerifyAll)
	program.DurationVar(&o.verifyInterval, "verify-interval", controller.DefaultVerifyInterval, "How often a credential is tried again that didn't change. A changed one is tried at once.")
	program.DurationVar(&o.surveyInterval, "survey-interval", controller.DefaultSurveyInterval, "How often all Pods are looked through for those that ask for a target and were not "+
		"injected, as they were created past the webhook.")

	o.add(&groups, "the Lease of the leader")
	return groups
}

func (o *controllerOptions) validate() error {
	problems := flagProblems{}
	if o.targetRetention <= 0 {
		problems.refusef("target-retention", "%s is not positive; 1s is as good as none", o.targetRetention)
	}
	if !slices.Contains([]controller.VerifyTargets{controller.VerifyOff, controller.VerifyMarked, controller.VerifyAll}, controller.VerifyTargets(o.verifyTargets)) {
		problems.refusef("verify-targets", "%q is none of off, marked, all", o.verifyTargets)
	}
	if o.verifyInterval < time.Minute {
		problems.refusef("verify-interval", "%s is less than a minute, which no partner should be asked for", o.verifyInterval)
	}
	if o.surveyInterval < time.Second {
		problems.refusef("survey-interval", "%s is less than a second, and each survey reads the metadata of all Pods", o.surveyInterval)
	}
	for _, period := range o.expiryWarnings {
		if period <= 0 {
			problems.refusef("expiry-warnings", "%s is not positive", period)
		}
	}
	return errors.Join(append(problems, o.processFlags.validate(map[int]string{})...)...)
}

func (o *controllerOptions) run(log logr.Logger) error {
	process, err := o.process(log)
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
		},
	}.Run()
}
