package scene

import (
	"context"
	_ "embed"
	"strings"
)

//go:embed manifests/relay.yaml
var relayManifests string

// The ports of a relay, by where it passes connections on to at the partner.
const (
	RelayPort       = 9443 // to 443
	RelayPlainPort  = 9080 // to 80
	RelaySilentPort = 9999 // nowhere: it takes connections and doesn't answer
)

// Relay is a Deployment that passes connections on to a host, and its Service.
type Relay struct{ Namespace, Name, Host string }

// Address is the name of the Service.
func (r Relay) Address() string { return r.Name + "." + r.Namespace + ".svc.cluster.local" }

// StartRelay creates the relay and waits until it listens.
func (s *Scene) StartRelay(ctx context.Context, r Relay) error {
	manifests := strings.NewReplacer(
		"${NAMESPACE}", r.Namespace, "${NAME}", r.Name, "${HOST}", r.Host, "${IMAGE}", s.Image("actor"),
	).Replace(relayManifests)
	if err := s.Apply(ctx, manifests); err != nil {
		return err
	}
	return s.Rollout(ctx, r.Namespace, "deployment/"+r.Name)
}

// ScaleRelay starts or ends the relay, and waits until it listens or no Pod of it takes
// connections.
func (s *Scene) ScaleRelay(ctx context.Context, r Relay, replicas string) error {
	if _, _, err := s.Kubectl(ctx, "scale", "deployment/"+r.Name, "--namespace", r.Namespace,
		"--replicas", replicas); err != nil {
		return err
	}
	return s.Rollout(ctx, r.Namespace, "deployment/"+r.Name)
}
