// Command pilot-agent is Istio's program of that name, which starts Envoy in a sidecar and provides
// its secrets. Upstream's main package is at
// https://github.com/istio/istio/tree/master/pilot/cmd/pilot-agent.
package main

import (
	"os"

	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/cmd/pilot-agent/app"
	istioagent "istio.io/istio/pkg/istio-agent"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/security"
	"istio.io/istio/security/pkg/nodeagent/sds"
)

func main() {
	log.EnableKlogWithCobra()
	command := app.NewRootCommand(func(
		o *security.Options, c security.SecretManager, p *meshconfig.PrivateKeyProvider,
	) istioagent.SDSService {
		return sds.NewServer(o, c, p)
	})
	if err := command.Execute(); err != nil {
		log.Error(err)
		os.Exit(1)
	}
}
