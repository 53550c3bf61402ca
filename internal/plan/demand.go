package plan

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"istio.io/api/annotation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// Demand is what one live Pod asks of a host and has for it.
type Demand struct {
	// Pod is its name.
	Pod string
	// Asks reports whether the Pod's annotations ask for the host. They needn't: those of a running
	// Pod can be edited.
	Asks bool
	// Port is the partner's TLS port that the annotations ask for, 0 if they don't say.
	Port int32
	// SecretName is the Secret that the Pod presents: what its sidecar mounts or, where that can't be
	// read, WantedSecret.
	SecretName string
	// WantedSecret is the Secret that the Pod would present if it were created now.
	WantedSecret string
	// CAConfigMap is the ConfigMap with the server's CA that its sidecar mounts, "" without one.
	CAConfigMap string
}

// Pod is what matters here of a Pod: its name, its age and its annotations.
type Pod interface {
	metav1.Object
	// Ended reports whether all its containers have ended, for good.
	Ended() bool
}

// DemandsOf returns what the live ones of pods ask of t's host, the oldest Pod first. t is the
// target as the EgressTarget describes it. A Pod lives until its containers have ended: a
// terminating Pod still calls.
func DemandsOf[P Pod](t egress.Target, pods []P) []Demand {
	live := slices.DeleteFunc(slices.Clone(pods), func(pod P) bool { return pod.Ended() })
	slices.SortFunc(live, func(a, b P) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), strings.Compare(a.GetName(), b.GetName()))
	})
	demands := make([]Demand, 0, len(live))
	for _, pod := range live {
		demands = append(demands, demandOf(t, pod))
	}
	return demands
}

func demandOf(t egress.Target, pod metav1.Object) Demand {
	d := Demand{Pod: pod.GetName(), WantedSecret: t.SecretName}
	// What can't be read was refused at admission, so it was edited since; the Pod presents what it
	// mounts.
	intent, _, _ := egress.ParseIntent(pod.GetAnnotations(), field.NewPath("metadata", "annotations"))
	for _, entry := range intent.Entries {
		if entry.Host == t.Host {
			d.Asks, d.Port = true, entry.Port
			d.WantedSecret = cmp.Or(entry.SecretName, t.SecretName)
		}
	}
	volumes := sidecarVolumes(pod.GetAnnotations()[annotation.SidecarUserVolume.Name])
	d.SecretName = cmp.Or(objectName(volumes[egress.VolumeName(t.Host)].Secret.SecretName), d.WantedSecret)
	d.CAConfigMap = objectName(volumes[egress.CAVolumeName(t.Host)].ConfigMap.Name)
	return d
}

// objectName returns name, or nothing if no Secret and no ConfigMap can have it: anyone who may
// create Pods writes their annotations, and a kubelet mounts nothing by such a name.
func objectName(name string) string {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return ""
	}
	return name
}

// sidecarVolume is what matters here of a volume in Istio's annotation.
type sidecarVolume struct {
	Name   string `json:"name"`
	Secret struct {
		SecretName string `json:"secretName"`
	} `json:"secret"`
	ConfigMap struct {
		Name string `json:"name"`
	} `json:"configMap"`
}

// sidecarVolumes reads the annotation in either of its two forms, a JSON list or a JSON map from
// name to the rest. A text that is neither holds no volumes.
func sidecarVolumes(text string) map[string]sidecarVolume {
	var byName map[string]sidecarVolume
	if json.Unmarshal([]byte(text), &byName) == nil {
		return byName
	}
	var list []sidecarVolume
	if json.Unmarshal([]byte(text), &list) != nil {
		return nil
	}
	byName = make(map[string]sidecarVolume, len(list))
	for _, volume := range list {
		byName[volume.Name] = volume
	}
	return byName
}

// WantedPort returns the port of an EgressTarget that is made for these Pods: that of the oldest
// Pod which names one, 0 if none does. It returns asked false if no Pod asks for the host, and then
// there is nothing to make.
func WantedPort(demands []Demand) (port int32, asked bool) {
	for _, d := range demands {
		asked = asked || d.Asks
		if d.Asks && d.Port != 0 {
			return d.Port, true
		}
	}
	return 0, asked
}

// SecretsInUse counts the Pods that present each Secret. Without Pods it is the target's own
// Secret, with none.
func SecretsInUse(t egress.Target, demands []Demand) map[string]int32 {
	if len(demands) == 0 {
		return map[string]int32{t.SecretName: 0}
	}
	pods := map[string]int32{}
	for _, d := range demands {
		pods[d.SecretName]++
	}
	return pods
}
