// Command pilot-discovery is Istio's control plane, the program of istiod. Upstream's main package
// is at
// https://github.com/istio/istio/tree/master/pilot/cmd/pilot-discovery.
package main

import (
	"os"

	"istio.io/istio/pilot/cmd/pilot-discovery/app"
	"istio.io/istio/pkg/log"
)

func main() {
	log.EnableKlogWithCobra()
	if err := app.NewRootCommand().Execute(); err != nil {
		log.Error(err)
		os.Exit(1)
	}
}
