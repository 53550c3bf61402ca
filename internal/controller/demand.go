package controller

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/target"
)

// demand is what one live Pod asks of a host and has for it.
type demand struct {
	pod string
	// asks says whether the Pod's annotations ask for the host. They needn't: a running Pod's annotations can be edited.
	asks bool
	// port is the partner's TLS port that the annotations ask for, 0 when they don't say.
	port int32
	// secretName is the Secret that the Pod presents: what its sidecar mounts or, where that can't be read, wantedSecret.
	secretName string
	// wantedSecret is the Secret that the Pod would present if it were created now.
	wantedSecret string
	// caConfigMap is the ConfigMap with the CA of the server that its sidecar mounts, "" without one.
	caConfigMap string
}

// demandOf returns what the live ones of pods ask of t's host, the oldest Pod first. t is the target as the EgressTarget
// describes it. A Pod lives until its containers have ended: a terminating Pod still calls.
func demandOf(t target.Target, pods []*pod) []demand {
	live := slices.DeleteFunc(slices.Clone(pods), (*pod).ended)
	slices.SortFunc(live, func(a, b *pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	demands := make([]demand, 0, len(live))
	for _, pod := range live {
		demands = append(demands, demandOfPod(t, pod))
	}
	return demands
}

func demandOfPod(t target.Target, pod *pod) demand {
	d := demand{pod: pod.Name, wantedSecret: t.SecretName}
	// What can't be read was refused at admission, so it was edited since; the Pod presents what it mounts.
	intent, _, _ := target.ParseIntent(pod.GetAnnotations(), field.NewPath("metadata", "annotations"))
	for _, entry := range intent.Entries {
		if entry.Host == t.Host {
			d.asks, d.port = true, entry.Port
			d.wantedSecret = cmp.Or(entry.SecretName, t.SecretName)
		}
	}
	volumes := sidecarVolumes(pod.GetAnnotations()[annotationUserVolume])
	d.secretName = cmp.Or(objectName(volumes[target.VolumeName(t.Host)].Secret.SecretName), d.wantedSecret)
	d.caConfigMap = objectName(volumes[target.CAVolumeName(t.Host)].ConfigMap.Name)
	return d
}

// objectName returns name, or nothing if no Secret and no ConfigMap can have it: anyone who may create Pods writes their
// annotations, and a kubelet mounts nothing by such a name.
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

// sidecarVolumes reads the annotation in either of its two forms, a JSON list or a JSON map from name to the rest. What is
// neither holds no volumes.
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

// wantedPort is the port that an EgressTarget made for these Pods gets: that of the oldest Pod which names one, 0 when none
// does. Asked is false when no Pod asks for the host, and then there is nothing to make.
func wantedPort(demands []demand) (port int32, asked bool) {
	for _, d := range demands {
		asked = asked || d.asks
		if d.asks && d.port != 0 {
			return d.port, true
		}
	}
	return 0, asked
}

// secretsInUse counts the Pods that present each Secret. Without Pods it is the target's own Secret, with none.
func secretsInUse(t target.Target, demands []demand) map[string]int32 {
	if len(demands) == 0 {
		return map[string]int32{t.SecretName: 0}
	}
	pods := map[string]int32{}
	for _, d := range demands {
		pods[d.secretName]++
	}
	return pods
}
