package mutate

import (
	"encoding/json"
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/uservolume"
)

// The JSON forms of the elements that the webhook adds. They contain only the required fields.
type (
	secretSource struct {
		SecretName string `json:"secretName"`
	}
	configMapSource struct {
		Name string `json:"name"`
	}
	volumeEntry struct {
		Name      string           `json:"name,omitempty"`
		Secret    *secretSource    `json:"secret,omitempty"`
		ConfigMap *configMapSource `json:"configMap,omitempty"`
	}
	mountEntry struct {
		Name      string `json:"name,omitempty"`
		MountPath string `json:"mountPath"`
		ReadOnly  bool   `json:"readOnly"`
	}
)

func addedVolume(volume corev1.Volume) uservolume.Added {
	entry := volumeEntry{Name: volume.Name}
	if volume.Secret != nil {
		entry.Secret = &secretSource{SecretName: volume.Secret.SecretName}
	}
	if volume.ConfigMap != nil {
		entry.ConfigMap = &configMapSource{Name: volume.ConfigMap.Name}
	}
	unnamed := entry
	unnamed.Name = ""
	return uservolume.Added{Name: volume.Name, ListForm: entry, MapForm: unnamed}
}

func addedMount(mount corev1.VolumeMount) uservolume.Added {
	entry := mountEntry{Name: mount.Name, MountPath: mount.MountPath, ReadOnly: mount.ReadOnly}
	unnamed := entry
	unnamed.Name = ""
	return uservolume.Added{Name: mount.Name, ListForm: entry, MapForm: unnamed}
}

// mergeVolumes returns the value of the userVolume annotation with the wanted volumes. Istio merges
// these volumes into those of the Pod by name, so a name with different content in both is
// rejected.
func mergeVolumes(text string, wanted, ofPod []corev1.Volume, at *field.Path) (string, field.ErrorList) {
	entries, err := uservolume.Parse(text)
	if err != nil {
		return "", field.ErrorList{egress.Invalid(at, text, err.Error())}
	}
	var errs field.ErrorList
	existing := map[string]corev1.Volume{}
	podVolumes := make(map[string]*corev1.Volume, len(ofPod))
	for i := range ofPod {
		podVolumes[ofPod[i].Name] = &ofPod[i]
	}
	for _, item := range entries.Items {
		volume := corev1.Volume{}
		if err := json.Unmarshal(item.Raw, &volume); err != nil {
			errs = append(
				errs,
				egress.Invalid(at, item.Name,
					"is not a valid volume; see https://kubernetes.io/docs/concepts/storage/volumes/"),
			)
			continue
		}
		volume.Name = item.Name
		if _, twice := existing[item.Name]; twice {
			errs = append(errs, egress.Invalid(at, item.Name, "two volumes have this name; rename one"))
		}
		existing[item.Name] = volume
		if other, both := podVolumes[item.Name]; both && !sameSource(*other, volume) {
			errs = append(
				errs,
				egress.Invalid(at, item.Name,
					"spec.volumes has a volume of the same name with other content, and Istio "+
						"would merge them; rename one"),
			)
		}
	}
	var added []uservolume.Added
	for _, volume := range wanted {
		present, found := existing[volume.Name]
		switch {
		case !found:
			added = append(added, addedVolume(volume))
		case !equality.Semantic.DeepEqual(present, volume):
			errs = append(errs, volumeClash(at, volume))
		}
	}
	return finish(entries, added, errs, at)
}

func volumeClash(at *field.Path, volume corev1.Volume) *field.Error {
	return egress.Invalid(
		at,
		volume.Name,
		fmt.Sprintf(
			"a volume of this name exists with other content; the webhook uses the name for %s; rename your volume",
			volumeContent(volume)),
	)
}

func volumeContent(volume corev1.Volume) string {
	if volume.ConfigMap != nil {
		return "the ConfigMap " + volume.ConfigMap.Name
	}
	return "the Secret " + volume.Secret.SecretName
}

// mergeMounts returns the value of the userVolumeMount annotation with the wanted mounts.
func mergeMounts(text string, wanted []corev1.VolumeMount, at *field.Path) (string, field.ErrorList) {
	entries, err := uservolume.Parse(text)
	if err != nil {
		return "", field.ErrorList{egress.Invalid(at, text, err.Error())}
	}
	var errs field.ErrorList
	existing := mountTable{}
	names := map[string]bool{}
	for _, item := range entries.Items {
		mount := corev1.VolumeMount{}
		if err := json.Unmarshal(item.Raw, &mount); err != nil {
			errs = append(
				errs,
				egress.Invalid(at, item.Name,
					"is not a valid volume mount: write name, mountPath and optionally readOnly and subPath"),
			)
			continue
		}
		mount.Name = item.Name
		if _, taken := existing.at(mount.MountPath); taken {
			errs = append(errs,
				egress.Invalid(at, mount.MountPath, "two volumes are mounted at this path; change one of the paths"))
		}
		existing.add(mount)
		names[mount.Name] = true
	}
	var added []uservolume.Added
	for _, mount := range wanted {
		present, found := existing.at(mount.MountPath)
		switch {
		case found && present == identityOf(mount):
		case found:
			errs = append(errs, mountClash(at, mount, present.name))
		case entries.IsMap && names[mount.Name]:
			errs = append(
				errs,
				egress.Invalid(
					at,
					mount.Name,
					fmt.Sprintf(
						"the map already mounts this volume at another path, and a map has each name only once; the "+
							"webhook mounts it at %s, so remove your entry or use the list form", mount.MountPath),
				),
			)
		default:
			added = append(added, addedMount(mount))
		}
	}
	return finish(entries, added, errs, at)
}

// mountIdentity holds the fields, besides the path, that make a mount equal to the wanted one.
type mountIdentity struct {
	name     string
	readOnly bool
	partial  bool
}

func identityOf(mount corev1.VolumeMount) mountIdentity {
	return mountIdentity{
		name:     mount.Name,
		readOnly: mount.ReadOnly,
		partial:  mount.SubPath != "" || mount.SubPathExpr != "",
	}
}

// mountTable holds mounts by cleaned path. A linear search per element would take minutes for a Pod
// with many mounts.
type mountTable map[string]mountIdentity

func (m mountTable) add(mount corev1.VolumeMount) {
	m[path.Clean(mount.MountPath)] = identityOf(mount)
}

func (m mountTable) at(mountPath string) (mountIdentity, bool) {
	identity, found := m[path.Clean(mountPath)]
	return identity, found
}

func mountClash(at *field.Path, mount corev1.VolumeMount, other string) *field.Error {
	return egress.Invalid(
		at,
		mount.MountPath,
		fmt.Sprintf(
			"another volume is mounted at this path (volume %q); the webhook mounts the volume %s there, read-only "+
				"and without subPath; move your mount", egress.Excerpt(other), mount.Name),
	)
}

func finish(
	entries uservolume.Entries,
	added []uservolume.Added,
	errs field.ErrorList,
	at *field.Path,
) (string, field.ErrorList) {
	if len(errs) > 0 {
		return "", errs
	}
	text, err := entries.With(added)
	if err != nil {
		return "", field.ErrorList{field.InternalError(at, err)}
	}
	return text, nil
}
