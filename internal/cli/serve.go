package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	cliflag "k8s.io/component-base/cli/flag"

	"mtls.egress/webhook/internal/app"
	"mtls.egress/webhook/internal/mesh"
)

func newServeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run one of the two servers: the webhook or the controller",
		Long: `Run the webhook, which serves admission requests, or the controller, which
programs targets. Each runs without the other, in the cluster with the chart's
service account or outside with a kubeconfig. Both need the EgressTarget CRD.`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newServeWebhookCommand(), newServeControllerCommand())
	return cmd
}

// server is one of the two servers.
type server interface {
	// flags returns the flags in groups.
	flags() cliflag.NamedFlagSets
	// validate returns all errors in the flags. Each names the flag and a fix.
	validate() error
	// run runs until a signal.
	run(log logr.Logger) error
}

// serverCommand adds the flags of s to cmd, and makes cmd run s.
func serverCommand(cmd *cobra.Command, s server, logs *logOptions) *cobra.Command {
	groups := s.flags()
	cmd.Args = noArguments
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.validate(); err != nil {
			return err
		}
		log := logs.install(cmd.ErrOrStderr())
		log.Info("Starting", "version", ownVersion(), "flags", flagValues(cmd.Flags()))
		return s.run(log)
	}
	for _, group := range groups.Order {
		cmd.Flags().AddFlagSet(groups.FlagSets[group])
	}
	cliflag.SetUsageAndHelpFunc(cmd, groups, helpColumns)
	return cmd
}

func ownVersion() string {
	info, _ := debug.ReadBuildInfo()
	return buildVersion(version, info)
}

// flagValues returns all flags except help. None contains a secret.
func flagValues(flags *pflag.FlagSet) map[string]string {
	values := map[string]string{}
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "help" {
			values[flag.Name] = flag.Value.String()
		}
	})
	return values
}

// processFlags are the flags of both servers.
type processFlags struct {
	policy policyFlags
	podIPs []net.IP

	meshConfig    string
	rootNamespace string

	namespace  string
	kubeconfig string
	context    string

	metricsAddress   string
	healthAddress    string
	profilingAddress string

	log logOptions
}

// add adds the flags to groups. namespaceOf describes the contents of --namespace.
func (f *processFlags) add(groups *cliflag.NamedFlagSets, namespaceOf string) {
	f.policy.addFlags(groups.FlagSet("policy"))

	istio := groups.FlagSet("istio")
	istio.StringVar(&f.meshConfig, "mesh-config", mesh.DefaultMeshConfigMap,
		"The ConfigMap in the root namespace with the mesh configuration in the key "+
			mesh.MeshConfigKey+". A control plane with a revision uses istio-REVISION.")
	istio.StringVar(&f.rootNamespace, "root-namespace", mesh.DefaultRootNamespace, "The root namespace of the mesh.")

	kubernetes := groups.FlagSet("kubernetes")
	kubernetes.StringVar(&f.namespace, "namespace", "",
		"The namespace of this installation, with "+namespaceOf+". Required.")
	kubernetes.StringVar(&f.kubeconfig, "kubeconfig", "",
		"The kubeconfig file. Default: $KUBECONFIG, then ~/.kube/config, then the Pod's service account.")
	kubernetes.StringVar(&f.context, "context", "", "The kubeconfig context. Default: the current one.")

	kubernetes.IPSliceVar(&f.podIPs, "pod-ips", nil,
		"The IP addresses of this Pod, none of which may be in --sinkhole-ranges. Default: not checked.")

	observe := groups.FlagSet("health and metrics")
	observe.StringVar(&f.healthAddress, "health-address", ":8081", "The HTTP listen address of /healthz and /readyz.")
	observe.StringVar(&f.metricsAddress, "metrics-address", ":8080",
		"The HTTP listen address of /metrics. 0 disables it.")
	observe.StringVar(&f.profilingAddress, "profiling-address", app.Disabled,
		"The HTTP listen address of /debug/pprof, such as 127.0.0.1:6060, which kubectl port-forward reaches. "+
			"0 disables it.")

	f.log.addFlags(groups.FlagSet("logging"))

	groups.FlagSet("global").BoolP("help", "h", false, "Print this help.")
}

// validate returns all errors in the flags. usedPorts maps ports to the flags that use them.
func (f *processFlags) validate(usedPorts map[int]string) []error {
	problems := flagProblems{}
	problems.name("mesh-config", f.meshConfig, validation.IsDNS1123Subdomain)
	problems.name("root-namespace", f.rootNamespace, validation.IsDNS1123Label)
	problems.name("namespace", f.namespace, validation.IsDNS1123Label)
	for _, server := range []struct {
		flag, address string
		optional      bool
	}{
		{flag: "metrics-address", address: f.metricsAddress, optional: true},
		{flag: "health-address", address: f.healthAddress},
		{flag: "profiling-address", address: f.profilingAddress, optional: true},
	} {
		if server.optional && server.address == app.Disabled {
			continue
		}
		port, err := listenPort(server.address)
		if err != nil {
			problems.refusef(server.flag, "%w", err)
			continue
		}
		if other, taken := usedPorts[port]; taken {
			problems.refusef(server.flag, "port %d is already used by --%s", port, other)
			continue
		}
		usedPorts[port] = server.flag
	}
	_, wrong := f.policy.cluster()
	return slices.Concat(problems, wrong, f.log.validate())
}

func (f *processFlags) process(log logr.Logger) (app.Process, error) {
	config, err := restConfig(f.kubeconfig, f.context)
	if err != nil {
		return app.Process{}, err
	}
	config.UserAgent = name + "/" + ownVersion()
	cluster, wrong := f.policy.cluster()
	var podIPs []netip.Addr
	for _, each := range f.podIPs {
		if address, ok := netip.AddrFromSlice(each); ok {
			podIPs = append(podIPs, address.Unmap())
		}
	}
	return app.Process{
		Config:           config,
		Policy:           cluster,
		PodIPs:           podIPs,
		MeshConfig:       types.NamespacedName{Namespace: f.rootNamespace, Name: f.meshConfig},
		MetricsAddress:   f.metricsAddress,
		HealthAddress:    f.healthAddress,
		ProfilingAddress: f.profilingAddress,
		Log:              log,
	}, errors.Join(wrong...)
}

// flagProblems collects the errors in flags.
type flagProblems []error

func (p *flagProblems) refusef(flag, format string, args ...any) {
	*p = append(*p, fmt.Errorf("--%s: "+format, append([]any{flag}, args...)...))
}

// name rejects a value that is empty or breaks the naming rule.
func (p *flagProblems) name(flag, value string, rule func(string) []string) {
	if value == "" {
		p.refusef(flag, "is required")
		return
	}
	if broken := rule(value); len(broken) > 0 {
		p.refusef(flag, "%q: %s", value, strings.Join(broken, "; "))
	}
}

// listenPort returns the port of a listen address, [HOST]:PORT. The host is an IP address or
// localhost.
func listenPort(address string) (int, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return 0, fmt.Errorf("%q is not [HOST]:PORT", address)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return 0, fmt.Errorf("%q: the host is neither an IP address nor localhost", address)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || len(validation.IsValidPortNum(port)) > 0 {
		return 0, fmt.Errorf("%q: the port is not a number from 1 to 65535", address)
	}
	return port, nil
}
