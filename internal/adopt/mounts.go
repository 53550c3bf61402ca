package adopt

import (
	"encoding/json"
	"path"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/uservolume"
)

// mounts are the mounts that an annotation adds to the sidecar of a Pod.
type mounts struct {
	// volumes are those of the annotation and of the Pod, and added the names of the former.
	volumes map[string]corev1.Volume
	added   map[string]bool
	mounts  []corev1.VolumeMount
}

// file is what a file in a sidecar comes from: a key of a Secret or of a ConfigMap.
type file struct {
	secret, configMap, key string
	// volume is the name of the volume, which the annotation userVolume adds, or else the Pod has.
	volume string
	added  bool
	// fixed reports whether the file keeps its content when the Secret changes (subPath).
	fixed bool
}

// mountsOf reads the annotations userVolume and userVolumeMount, and the volumes of the Pod. What
// can't be read adds nothing, as in Istio.
func mountsOf(pod *corev1.Pod) mounts {
	found := mounts{volumes: map[string]corev1.Volume{}, added: map[string]bool{}}
	for i := range pod.Spec.Volumes {
		found.volumes[pod.Spec.Volumes[i].Name] = pod.Spec.Volumes[i]
	}
	annotations := pod.Annotations
	for _, entry := range entriesOf(annotations[annotation.SidecarUserVolume.Name]) {
		// As in Kubernetes, the case of the fields doesn't matter.
		var volume corev1.Volume
		if json.Unmarshal(entry.Raw, &volume) == nil {
			found.volumes[entry.Name], found.added[entry.Name] = volume, true
		}
	}
	for _, entry := range entriesOf(annotations[annotation.SidecarUserVolumeMount.Name]) {
		var mount corev1.VolumeMount
		if json.Unmarshal(entry.Raw, &mount) == nil {
			mount.Name = entry.Name
			found.mounts = append(found.mounts, mount)
		}
	}
	return found
}

func entriesOf(text string) []uservolume.Entry {
	entries, err := uservolume.Parse(text)
	if err != nil {
		return nil
	}
	return entries.Items
}

// locate returns what the file at a path in the sidecar comes from.
func (m mounts) locate(name string) (found file, ok bool) {
	name = path.Clean(name)
	longest := ""
	for _, mount := range m.mounts {
		at := path.Clean(mount.MountPath)
		if len(at) < len(longest) || name != at && !strings.HasPrefix(name, strings.TrimSuffix(at, "/")+"/") {
			continue
		}
		relative := strings.TrimPrefix(strings.TrimPrefix(name, at), "/")
		longest = at
		found, ok = fileOf(m.volumes[mount.Name], path.Join(mount.SubPath, relative))
		found.volume, found.added, found.fixed = mount.Name, m.added[mount.Name], mount.SubPath != ""
	}
	return found, ok
}

// fileOf returns the key of the file in the volume.
func fileOf(volume corev1.Volume, name string) (file, bool) {
	switch {
	case volume.Secret != nil:
		key, ok := keyOf(volume.Secret.Items, name)
		return file{secret: volume.Secret.SecretName, key: key}, ok
	case volume.ConfigMap != nil:
		key, ok := keyOf(volume.ConfigMap.Items, name)
		return file{configMap: volume.ConfigMap.Name, key: key}, ok
	case volume.Projected != nil:
		for _, source := range volume.Projected.Sources {
			if source.Secret != nil {
				if key, ok := keyOf(source.Secret.Items, name); ok {
					return file{secret: source.Secret.Name, key: key}, true
				}
			}
		}
	}
	return file{}, false
}

func keyOf(items []corev1.KeyToPath, name string) (string, bool) {
	if len(items) == 0 {
		return name, name != ""
	}
	for _, item := range items {
		if path.Clean(item.Path) == name {
			return item.Key, true
		}
	}
	return "", false
}
