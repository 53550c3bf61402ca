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
	"mtls.egress/webhook/internal/uservolume"
)

// Demand is what one live Pod requests for a host, and what it mounts for it.
type Demand struct {
	// Pod is the Pod's name.
	Pod string
	// Asks reports whether the Pod's annotations ask for the host. It is false if they were edited
	// after the Pod started.
	Asks bool
	// Port is the partner's TLS port in the annotations, or 0 if they name none.
	Port int32
	// SecretName is the Secret that the Pod presents: the one that its sidecar mounts or, if that
	// can't be read, WantedSecret.
	SecretName string
	// WantedSecret is the Secret that the Pod would present if it were created now.
	WantedSecret string
	// CAConfigMap is the ConfigMap with the server's CA that the Pod's sidecar mounts, or "".
	CAConfigMap string
	// NoSidecar reports whether the Pod has no sidecar, so that its calls are dropped.
	NoSidecar bool
	// ProxyVersion is the Istio version of its sidecar, or "" if it is unknown.
	ProxyVersion string
	// Owner is the workload that created the Pod, or the zero value. See Pod.
	Owner metav1.OwnerReference
	// Address is the sinkhole address of the host in the Pod, or "" if it is the one that the
	// first range gives the host.
	Address string
}

// Pod is the part of a Pod that this package reads: its name, its age, its annotations, its
// sidecar, its owner and its host aliases.
type Pod interface {
	metav1.Object
	// HasSidecar reports whether the Pod has a sidecar.
	HasSidecar() bool
	// ProxyVersion is the Istio version of its sidecar, or "" if it is unknown.
	ProxyVersion() string
	// Ended reports whether all containers have terminated and won't restart.
	Ended() bool
	// Owner is the workload that created the Pod, or the zero value. Its UID can be empty.
	Owner() metav1.OwnerReference
	// SinkholeAddress is the address that the host has inside the Pod, or "" if it is the one that the
	// first range gives the host.
	SinkholeAddress(host string) string
	// Content identifies what Pods of a Deployment have in common. If it is equal for two Pods,
	// and not nil, they have equal annotations and host aliases, and the same sidecar. It must be
	// comparable.
	Content() any
}

// DemandsOf returns the demands of the live Pods for t's host, the oldest Pod first. t is the
// target as the EgressTarget describes it. A Pod is live until its containers have ended, because a
// terminating Pod still makes calls.
func DemandsOf[P Pod](t egress.Target, pods []P) []Demand {
	type aged struct {
		created int64
		name    string
		pod     P
	}
	live := make([]aged, 0, len(pods))
	for _, pod := range pods {
		if !pod.Ended() {
			live = append(live, aged{pod.GetCreationTimestamp().Unix(), pod.GetName(), pod})
		}
	}
	slices.SortFunc(live, func(a, b aged) int {
		return cmp.Or(cmp.Compare(a.created, b.created), strings.Compare(a.name, b.name))
	})
	demands := make([]Demand, len(live))
	byContent := map[any]Demand{}
	for i, each := range live {
		content := each.pod.Content()
		demand, known := byContent[content]
		if content == nil || !known {
			demand = demandOf(t, each.pod)
			byContent[content] = demand
		}
		demand.Pod, demand.Owner = each.name, each.pod.Owner()
		demands[i] = demand
	}
	return demands
}

// demandOf returns the demand of a Pod, without its name and owner.
func demandOf(t egress.Target, pod Pod) Demand {
	d := Demand{
		WantedSecret: t.SecretName,
		NoSidecar:    !pod.HasSidecar(), ProxyVersion: pod.ProxyVersion(), Address: pod.SinkholeAddress(t.Host),
	}
	// Admission rejects annotations that don't parse, so these were edited later. The Pod presents
	// what it mounts.
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

// objectName returns name, or "" if it isn't a valid name of a Secret or ConfigMap. Anyone who may
// create Pods can write anything into their annotations, and the kubelet mounts nothing by an
// invalid name.
func objectName(name string) string {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return ""
	}
	return name
}

// sidecarVolume is the part of a volume in Istio's annotation that this package reads.
type sidecarVolume struct {
	Secret struct {
		SecretName string `json:"secretName"`
	} `json:"secret"`
	ConfigMap struct {
		Name string `json:"name"`
	} `json:"configMap"`
}

// sidecarVolumes returns the volumes in Istio's annotation by name. An invalid value yields no
// volumes.
func sidecarVolumes(text string) map[string]sidecarVolume {
	entries, err := uservolume.Parse(text)
	if err != nil {
		return nil
	}
	byName := make(map[string]sidecarVolume, len(entries.Items))
	for _, item := range entries.Items {
		var volume sidecarVolume
		if json.Unmarshal(item.Raw, &volume) == nil {
			byName[item.Name] = volume
		}
	}
	return byName
}

// WantedPort returns the port for the EgressTarget that the controller creates for these Pods: the
// port of the oldest Pod that names one, or 0. If no Pod asks for the host, asked is false and
// there is nothing to create.
func WantedPort(demands []Demand) (port int32, asked bool) {
	for _, d := range demands {
		asked = asked || d.Asks
		if d.Asks && d.Port != 0 {
			return d.Port, true
		}
	}
	return 0, asked
}

// SecretsInUse counts the Pods that present each Secret. Without Pods, it returns the target's own
// Secret with the count 0.
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
