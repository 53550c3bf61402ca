package mutate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// Istio's injector reads additional sidecar volumes and mounts from these two annotations. Each is
// a JSON list, or a JSON map from name to content. A Pod has only one of each, so the webhook and
// the user share them.
//
// https://istio.io/latest/docs/reference/config/annotations/#SidecarUserVolume
const (
	annotationUserVolume      = "sidecar.istio.io/userVolume"
	annotationUserVolumeMount = "sidecar.istio.io/userVolumeMount"
)

// sidecarEntries is the parsed value of one of Istio's two annotations.
type sidecarEntries struct {
	text  string
	isMap bool
	items []sidecarEntry
	// end is the offset in text at which to insert the next item.
	end int
}

// sidecarEntry is one element. Its name is the key in the map form. In the list form it is the name
// field or, as in Istio's template, the position.
type sidecarEntry struct {
	name string
	raw  json.RawMessage
}

const wantedForm = `it takes a JSON list such as [{"name": "a", …}] or a JSON map such as {"a": {…}}`

// parseSidecarEntries parses the value of one of the two annotations. The user's text is never
// re-encoded, so it keeps its spelling and formatting.
func parseSidecarEntries(text string) (sidecarEntries, error) {
	if strings.TrimSpace(text) == "" {
		return sidecarEntries{text: "[]", end: 1}, nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	opening, err := decoder.Token()
	if err != nil {
		return sidecarEntries{}, unreadable(err)
	}
	entries := sidecarEntries{text: text, isMap: opening == json.Delim('{')}
	if !entries.isMap && opening != json.Delim('[') {
		return sidecarEntries{}, fmt.Errorf("is neither a list nor a map; %s", wantedForm)
	}
	entries.end = int(decoder.InputOffset())
	seen := map[string]bool{}
	for decoder.More() {
		entry, err := nextEntry(decoder, entries.isMap, len(entries.items))
		if err != nil {
			return sidecarEntries{}, err
		}
		if entries.isMap && seen[entry.name] {
			return sidecarEntries{}, fmt.Errorf(
				"has two entries named %q, but Istio reads only one of them; rename one", egress.Excerpt(entry.name))
		}
		seen[entry.name] = true
		entries.items = append(entries.items, entry)
		entries.end = int(decoder.InputOffset())
	}
	if _, err := decoder.Token(); err != nil {
		return sidecarEntries{}, unreadable(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return sidecarEntries{}, fmt.Errorf("has text after the closing bracket; %s", wantedForm)
	}
	return entries, nil
}

func nextEntry(decoder *json.Decoder, isMap bool, position int) (sidecarEntry, error) {
	entry := sidecarEntry{name: strconv.Itoa(position)}
	if isMap {
		key, err := decoder.Token()
		if err != nil {
			return entry, unreadable(err)
		}
		// The decoder returns only strings in key position.
		entry.name, _ = key.(string)
	}
	if err := decoder.Decode(&entry.raw); err != nil {
		return entry, unreadable(err)
	}
	if !strings.HasPrefix(string(entry.raw), "{") {
		return entry, fmt.Errorf("has an entry (%s) that is not a JSON object; %s", egress.Excerpt(entry.name),
			wantedForm)
	}
	name, named, err := nameIn(entry.raw)
	if err != nil {
		return entry, fmt.Errorf("has an entry (%s) whose name is not a string", egress.Excerpt(entry.name))
	}
	if named {
		entry.name = name
	}
	return entry, nil
}

// nameIn returns the name of an entry. Istio writes the entry below a generated name, which only a
// key spelled exactly "name" replaces. The other keys reach the Kubernetes decoder, which ignores
// case.
func nameIn(raw json.RawMessage) (name string, named bool, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return "", false, err
	}
	text, named := fields["name"]
	if !named {
		return "", false, nil
	}
	return name, true, json.Unmarshal(text, &name)
}

// unreadable omits the decoder's message, which can repeat bytes of the value.
func unreadable(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("is not JSON (at character %d); %s", syntax.Offset, wantedForm)
	}
	return fmt.Errorf("is not complete JSON; %s", wantedForm)
}

// with returns the text with the added elements after the user's, in the same form.
func (e sidecarEntries) with(added []addedEntry) (string, error) {
	if len(added) == 0 {
		return e.text, nil
	}
	var insertion strings.Builder
	for i, entry := range added {
		if i > 0 || len(e.items) > 0 {
			insertion.WriteByte(',')
		}
		value := entry.listForm
		if e.isMap {
			fmt.Fprintf(&insertion, "%q:", entry.name)
			value = entry.mapForm
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			return "", fmt.Errorf("encoding the entry %s: %w", entry.name, err)
		}
		insertion.Write(encoded)
	}
	return e.text[:e.end] + insertion.String() + e.text[e.end:], nil
}

// addedEntry is an element that the webhook adds. In the map form the name is the key.
type addedEntry struct {
	name     string
	listForm any
	mapForm  any
}

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

func addedVolume(volume corev1.Volume) addedEntry {
	entry := volumeEntry{Name: volume.Name}
	if volume.Secret != nil {
		entry.Secret = &secretSource{SecretName: volume.Secret.SecretName}
	}
	if volume.ConfigMap != nil {
		entry.ConfigMap = &configMapSource{Name: volume.ConfigMap.Name}
	}
	unnamed := entry
	unnamed.Name = ""
	return addedEntry{name: volume.Name, listForm: entry, mapForm: unnamed}
}

func addedMount(mount corev1.VolumeMount) addedEntry {
	entry := mountEntry{Name: mount.Name, MountPath: mount.MountPath, ReadOnly: mount.ReadOnly}
	unnamed := entry
	unnamed.Name = ""
	return addedEntry{name: mount.Name, listForm: entry, mapForm: unnamed}
}

// mergeVolumes returns the value of the userVolume annotation with the wanted volumes. Istio merges
// these volumes into those of the Pod by name, so a name with different content in both is
// rejected.
func mergeVolumes(text string, wanted, ofPod []corev1.Volume, at *field.Path) (string, field.ErrorList) {
	entries, err := parseSidecarEntries(text)
	if err != nil {
		return "", field.ErrorList{egress.Invalid(at, text, err.Error())}
	}
	var errs field.ErrorList
	existing := map[string]corev1.Volume{}
	podVolumes := make(map[string]*corev1.Volume, len(ofPod))
	for i := range ofPod {
		podVolumes[ofPod[i].Name] = &ofPod[i]
	}
	for _, item := range entries.items {
		volume := corev1.Volume{}
		if err := json.Unmarshal(item.raw, &volume); err != nil {
			errs = append(
				errs,
				egress.Invalid(at, item.name,
					"is not a valid volume; see https://kubernetes.io/docs/concepts/storage/volumes/"),
			)
			continue
		}
		volume.Name = item.name
		if _, twice := existing[item.name]; twice {
			errs = append(errs, egress.Invalid(at, item.name, "two volumes have this name; rename one"))
		}
		existing[item.name] = volume
		if other, both := podVolumes[item.name]; both && !sameSource(*other, volume) {
			errs = append(
				errs,
				egress.Invalid(at, item.name,
					"spec.volumes has a volume of the same name with other content, and Istio "+
						"would merge them; rename one"),
			)
		}
	}
	var added []addedEntry
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
	entries, err := parseSidecarEntries(text)
	if err != nil {
		return "", field.ErrorList{egress.Invalid(at, text, err.Error())}
	}
	var errs field.ErrorList
	existing := mountTable{}
	names := map[string]bool{}
	for _, item := range entries.items {
		mount := corev1.VolumeMount{}
		if err := json.Unmarshal(item.raw, &mount); err != nil {
			errs = append(
				errs,
				egress.Invalid(at, item.name,
					"is not a valid volume mount: write name, mountPath and optionally readOnly and subPath"),
			)
			continue
		}
		mount.Name = item.name
		if _, taken := existing.at(mount.MountPath); taken {
			errs = append(errs,
				egress.Invalid(at, mount.MountPath, "two volumes are mounted at this path; change one of the paths"))
		}
		existing.add(mount)
		names[mount.Name] = true
	}
	var added []addedEntry
	for _, mount := range wanted {
		present, found := existing.at(mount.MountPath)
		switch {
		case found && present == identityOf(mount):
		case found:
			errs = append(errs, mountClash(at, mount, present.name))
		case entries.isMap && names[mount.Name]:
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
	entries sidecarEntries,
	added []addedEntry,
	errs field.ErrorList,
	at *field.Path,
) (string, field.ErrorList) {
	if len(errs) > 0 {
		return "", errs
	}
	text, err := entries.with(added)
	if err != nil {
		return "", field.ErrorList{field.InternalError(at, err)}
	}
	return text, nil
}
