package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

type gatewayFlags struct {
	namespace string
	selector  string
	port      int32
	sni       string
	output    string
}

func newGatewayCommand() *cobra.Command {
	flags := &gatewayFlags{}
	cmd := &cobra.Command{
		Use:   "gateway HOST --namespace NAMESPACE [flags]",
		Short: "Print the Istio objects of an egress gateway for a host",
		Long: `Gateway prints the Gateway, the VirtualService and the ServiceEntry that an
Istio gateway needs to pass the TLS connections of an EgressTarget on to its
host. TLS still ends at the partner. The objects belong in the namespace of the
gateway and affect no other. Write the Service of the gateway into
spec.endpoints of the EgressTarget, and allow it with policy.allowedEndpoints of
the chart.

Exit codes: 0 done; 2 invalid command line.`,
		Example: `  mtls-egress-webhook gateway api.partner.example --namespace istio-egress \
    | kubectl apply -f -`,
		Args: oneArgument("the host of the partner"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runGateway(cmd.OutOrStdout(), args[0], flags)
		},
	}
	set := cmd.Flags()
	set.StringVarP(&flags.namespace, "namespace", "n", "", "the namespace of the gateway; required")
	set.StringVar(&flags.selector, "selector", "istio=egressgateway",
		"the labels of the gateway's Pods, as LABEL=VALUE, separated by commas")
	set.Int32Var(&flags.port, "port", egress.DefaultPort, "the partner's TLS port, as in spec.port of the EgressTarget")
	set.StringVar(&flags.sni, "sni", "", "the server name, as in spec.sni of the EgressTarget (default: the host)")
	addOutput(cmd, &flags.output, outputYAML, "json (one List)")
	return cmd
}

func runGateway(out io.Writer, host string, flags *gatewayFlags) error {
	host, err := egress.NormalizeHost(host)
	var problems []error
	if err != nil {
		problems = append(problems, fmt.Errorf("HOST %w", err))
	}
	if wrong := validation.IsDNS1123Label(flags.namespace); len(wrong) > 0 {
		problems = append(problems, fmt.Errorf("--namespace %q: pass the namespace of the gateway: %s",
			egress.Excerpt(flags.namespace), strings.Join(wrong, "; ")))
	}
	selector, err := labels.ConvertSelectorToLabelsMap(flags.selector)
	if err != nil || len(selector) == 0 {
		problems = append(problems, fmt.Errorf("--selector %q: pass labels of the gateway's Pods, as in istio=egressgateway",
			egress.Excerpt(flags.selector)))
	}
	if wrong := validation.IsValidPortNum(int(flags.port)); len(wrong) > 0 {
		problems = append(problems, fmt.Errorf("--port %d: %s", flags.port, strings.Join(wrong, "; ")))
	}
	if wrong := validation.IsDNS1123Subdomain(strings.ToLower(flags.sni)); flags.sni != "" && len(wrong) > 0 {
		problems = append(problems, fmt.Errorf("--sni %q: pass the value of spec.sni: %s",
			egress.Excerpt(flags.sni), strings.Join(wrong, "; ")))
	}
	if len(problems) > 0 {
		return wrongCommandLine(problems...)
	}
	t := egress.FromEgressTarget("", host, &v1alpha1.EgressTarget{
		Spec: v1alpha1.EgressTargetSpec{Port: flags.port, SNI: strings.ToLower(flags.sni)},
	}, egress.Sinkhole{})
	var objects []map[string]any
	for _, object := range mesh.EgressGateway(t, flags.namespace, selector) {
		rendered, err := mesh.Unstructured(object)
		if err != nil {
			return err
		}
		objects = append(objects, rendered.Object)
	}
	encoded, err := encode(objects, flags.output)
	if err != nil {
		return err
	}
	_, err = out.Write(encoded)
	return err
}
