package check

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/uservolume"
)

// mountRules returns the rules for the files of the certificate in the sidecar.
func mountRules() []Rule {
	return []Rule{
		{
			ID: "MTE249", Group: Istio, Name: "path-not-mounted", Severity: Error,
			Summary: "The TLS settings name a file that no userVolumeMount of the Pods contains.",
			Effect:  "The sidecar is ready after 15 seconds instead of 1.5, and calls get 503 (Secret is not supplied by SDS).",
			Fix:     "Use a path below mountPath of the annotation sidecar.istio.io/userVolumeMount.",
			find:    byHand(pathNotMounted),
		},
		{
			ID: "MTE250", Group: Istio, Name: "pods-without-mount", Severity: Warning,
			Summary: "Pods that the TLS settings apply to don't have the annotation sidecar.istio.io/userVolumeMount.",
			Effect: "Their sidecars are ready after 15 seconds instead of 1.5, and calls get 503 (Secret is not supplied by " +
				"SDS).",
			Fix: "Annotate the Pod template with sidecar.istio.io/userVolume and userVolumeMount; or with " +
				"mtls.egress/target.",
			find: byHand(podsWithoutMount),
		},
		{
			ID: "MTE251", Group: Istio, Name: "secret-without-file", Severity: Error,
			Summary: "The TLS settings name a file that the Secret of the volume has no key for.",
			Effect:  "The file doesn't exist, the sidecar is ready after 15 seconds instead of 1.5, and calls get 503.",
			Fix:     "Use the key of the Secret as the name of the file, or add the key.",
			find:    byHand(secretWithoutFile),
		},
		{
			ID: "MTE252", Group: Istio, Name: "mount-with-sub-path", Severity: Warning,
			Summary: "A userVolumeMount mounts a single file with subPath.",
			Effect: "Kubernetes never updates such a file, so the sidecar presents the old certificate until the Pod " +
				"restarts. Without subPath, a new one is in use within 34 ms of the change.",
			Fix:  "Mount the whole volume, without subPath.",
			find: byHand(mountWithSubPath),
		},
		{
			ID: "MTE253", Group: Istio, Name: "annotation-not-readable", Severity: Error,
			Summary: "The annotation sidecar.istio.io/userVolume or userVolumeMount isn't in a form that Istio reads.",
			Effect:  "Istio's injector fails, and the Pod is not created.",
			Fix:     `Write a JSON list such as [{"name": "a", …}], or a JSON map such as {"a": {…}}.`,
			find:    byHand(annotationNotReadable),
		},
		{
			ID: "MTE254", Group: Istio, Name: "mount-without-volume", Severity: Error,
			Summary: "A userVolumeMount names a volume that neither userVolume nor the Pod has.",
			Effect:  "The API server refuses the Pod.",
			Fix:     "Use the same name in both annotations.",
			find:    byHand(mountWithoutVolume),
		},
		{
			ID: "MTE255", Group: Istio, Name: "annotation-on-workload", Severity: Error,
			Summary: "The annotation for the sidecar is on the workload itself, not on its Pod template.",
			Effect: "Istio's injector doesn't see it, the files don't exist, the sidecar is ready after 15 seconds instead of " +
				"1.5, and calls get 503.",
			Fix:  "Move the annotation to spec.template.metadata.annotations.",
			find: byHand(annotationOnWorkload),
		},
		{
			ID: "MTE256", Group: Istio, Name: "mount-over-mesh-files", Severity: Error,
			Summary: "A userVolumeMount uses a directory of the sidecar's own files.",
			Effect: "In /etc/certs, the sidecar takes cert-chain.pem, key.pem and root-cert.pem for its certificate of the " +
				"mesh. The API server refuses a Pod whose sidecar mounts one directory twice.",
			Fix:  "Mount to another directory, such as /etc/partner.",
			find: byHand(mountOverMeshFiles),
		},
	}
}

// userVolumes and userVolumeMounts are Istio's annotations.
func volumesKey() string { return annotation.SidecarUserVolume.Name }
func mountsKey() string  { return annotation.SidecarUserVolumeMount.Name }

// annotationAt returns the path to an annotation of the Pods.
func (p *Pods) annotationAt(key string) []any {
	return append(slices.Clip(p.Path), "metadata", "annotations", key)
}

// mountsOf returns the additional mounts of the sidecar. Their names are those of volumes.
func mountsOf(pod corev1.Pod) []corev1.VolumeMount {
	return decoded(pod, mountsKey(), func(mount *corev1.VolumeMount, name string) {
		mount.Name, mount.MountPath = name, path.Clean(mount.MountPath)
	})
}

// volumesOf returns the additional volumes of the sidecar, and those of the Pod.
func volumesOf(pod corev1.Pod) []corev1.Volume {
	added := decoded(pod, volumesKey(), func(volume *corev1.Volume, name string) { volume.Name = name })
	return append(added, pod.Spec.Volumes...)
}

// decoded returns the entries of an annotation. Those that can't be read are for another rule.
func decoded[T any](pod corev1.Pod, key string, setName func(*T, string)) []T {
	entries, err := uservolume.Parse(pod.Annotations[key])
	if err != nil {
		return nil
	}
	var values []T
	for _, entry := range entries.Items {
		var value T
		if json.Unmarshal(entry.Raw, &value) == nil {
			setName(&value, entry.Name)
			values = append(values, value)
		}
	}
	return values
}

// mountOf returns the mount that contains the file.
func (p *Pods) mountOf(file string) (mount corev1.VolumeMount, found bool) {
	for i := range p.mounts {
		rest, below := strings.CutPrefix(file, p.mounts[i].MountPath)
		if below && (rest == "" || strings.HasPrefix(rest, "/")) {
			return p.mounts[i], true
		}
	}
	return corev1.VolumeMount{}, false
}

// volumeOf returns the volume with the file.
func (p *Pods) volumeOf(file string) (corev1.Volume, bool) {
	mount, found := p.mountOf(file)
	if !found {
		return corev1.Volume{}, false
	}
	return p.volume(mount.Name)
}

func (p *Pods) volume(name string) (corev1.Volume, bool) {
	volumes := p.volumes
	index := slices.IndexFunc(volumes, func(volume corev1.Volume) bool { return volume.Name == name })
	if index < 0 {
		return corev1.Volume{}, false
	}
	return volumes[index], true
}

// mountedOtherwise reports whether something other than the annotations can mount files: a template
// of the injector, or this project.
func (p *Pods) mountedOtherwise() bool {
	_, target := p.Value.Annotations[egress.AnnotationTarget]
	_, template := p.Value.Annotations[annotation.InjectTemplates.Name]
	return target || template
}

// file is a field of the TLS settings that names a file.
type file struct{ field, path string }

// files returns the files of the settings that a mount has to contain. CAs can be in the sidecar's
// image.
func (s start) files() []file {
	all := []file{
		{"clientCertificate", s.tls.ClientCertificate}, {"privateKey", s.tls.PrivateKey},
		{"caCertificates", s.tls.CaCertificates},
	}
	return slices.DeleteFunc(all, func(f file) bool {
		return !strings.HasPrefix(f.path, "/") || slices.Contains(meshFiles(), f.path) || slices.ContainsFunc(
			[]string{"/etc/ssl/", "/etc/pki/", "/usr/", "/var/run/secrets/", "/etc/istio/"},
			func(directory string) bool { return strings.HasPrefix(f.path, directory) })
	})
}

// callers returns the Pods of the input that the settings are for: those that the selector selects,
// or those of the namespace that mount anything into their sidecars.
func (h *handWritten) callers(s start) []*Pods {
	key := "callers of " + s.Location.Namespace + "/" + labelsText(selectorOf(s.destinationRule))
	if known, found := h.selection[key]; found {
		return known
	}
	h.selection[key] = slices.DeleteFunc(slices.Clone(h.selected(s.destinationRule)), func(pods *Pods) bool {
		return pods.mountedOtherwise() || pods.Value.Annotations[mountsKey()] == ""
	})
	return h.selection[key]
}

func pathNotMounted(h *handWritten, report report) {
	for _, s := range h.starts {
		callers := h.callers(s)
		for _, f := range s.files() {
			without := slices.DeleteFunc(slices.Clone(callers), func(pods *Pods) bool {
				_, mounted := pods.mountOf(f.path)
				return mounted || len(pods.mounts) == 0
			})
			// Without a selector, one workload with the files is enough.
			if len(without) == 0 || len(selectorOf(s.destinationRule)) == 0 && len(without) < len(callers) {
				continue
			}
			report(s.Object, s.at(f.field), fmt.Sprintf("%s %s mounts %s into its sidecar, but not %s", without[0].Location.Kind,
				without[0].Location.Name, mountPaths(without[0]), f.path))
		}
	}
}

func mountPaths(pods *Pods) string {
	var paths []string
	for _, mount := range pods.mounts {
		paths = append(paths, mount.MountPath)
	}
	return strings.Join(paths, ", ")
}

func podsWithoutMount(h *handWritten, report report) {
	for _, s := range h.starts {
		if len(s.files()) == 0 || !s.presents() || h.onlyInGateways(s.host) {
			continue
		}
		selected := slices.DeleteFunc(slices.Clone(h.selected(s.destinationRule)), (*Pods).mountedOtherwise)
		without := slices.DeleteFunc(slices.Clone(selected), func(pods *Pods) bool {
			return pods.Value.Annotations[mountsKey()] != "" || annotatedOutside(pods)
		})
		if len(without) == 0 || len(selectorOf(s.destinationRule)) == 0 && len(without) < len(selected) {
			continue
		}
		report(without[0].Object, append(slices.Clip(without[0].Path), "metadata"), fmt.Sprintf(
			"DestinationRule %s makes the sidecar read %s, but the Pods don't have the annotation %s", s.Location.Name,
			s.files()[0].path, mountsKey()))
	}
}

// annotatedOutside reports whether the workload has the annotation instead of its template.
func annotatedOutside(pods *Pods) bool {
	if len(pods.Path) == 0 {
		return false
	}
	_, found := outerAnnotations(pods)[mountsKey()]
	return found
}

func outerAnnotations(pods *Pods) map[string]any {
	metadata, _ := pods.Content["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	return annotations
}

func secretWithoutFile(h *handWritten, report report) {
	for _, s := range h.starts {
		for _, f := range s.files() {
			for _, pods := range h.callers(s) {
				if missing := h.missingKey(pods, f.path); missing != "" {
					report(s.Object, s.at(f.field), fmt.Sprintf("%s: %s", f.path, missing))
					break
				}
			}
		}
	}
}

// missingKey says why the file can't exist in the sidecar of the Pods, as far as the input shows
// the Secret.
func (h *handWritten) missingKey(pods *Pods, file string) string {
	mount, mounted := pods.mountOf(file)
	volume, found := pods.volume(mount.Name)
	if !mounted || !found || volume.Secret == nil || mount.SubPath != "" || mount.SubPathExpr != "" {
		return ""
	}
	key := strings.TrimPrefix(file, mount.MountPath+"/")
	if items := volume.Secret.Items; len(items) > 0 {
		index := slices.IndexFunc(items, func(item corev1.KeyToPath) bool { return item.Path == key })
		if index < 0 {
			return fmt.Sprintf("the items of the volume %s don't have the path %s", volume.Name, key)
		}
		key = items[index].Key
	}
	secret, known := h.secrets[pods.Location.Namespace+"/"+volume.Secret.SecretName]
	if !known {
		return ""
	}
	_, data := secret.Data[key]
	_, text := secret.StringData[key]
	if !data && !text {
		return fmt.Sprintf("Secret %s has no key %s", secret.Name, key)
	}
	return ""
}

func mountWithSubPath(h *handWritten, report report) {
	for i := range h.Pods {
		pods := &h.Pods[i]
		for _, mount := range pods.mounts {
			volume, _ := pods.volume(mount.Name)
			if (mount.SubPath != "" || mount.SubPathExpr != "") && (volume.Secret != nil || volume.Projected != nil ||
				volume.ConfigMap != nil || volume.CSI != nil) {
				report(pods.Object, pods.annotationAt(mountsKey()),
					mount.MountPath+" is mounted with subPath, so it is not updated when the Secret changes")
			}
		}
	}
}

func annotationNotReadable(h *handWritten, report report) {
	for i := range h.Pods {
		pods := &h.Pods[i]
		for _, key := range []string{volumesKey(), mountsKey()} {
			if _, err := uservolume.Parse(pods.Value.Annotations[key]); err != nil {
				report(pods.Object, pods.annotationAt(key), fmt.Sprintf("%s %v", key, err))
			}
		}
	}
}

func mountWithoutVolume(h *handWritten, report report) {
	for i := range h.Pods {
		pods := &h.Pods[i]
		if _, err := uservolume.Parse(pods.Value.Annotations[volumesKey()]); err != nil || pods.mountedOtherwise() {
			continue
		}
		for _, mount := range pods.mounts {
			if _, found := pods.volume(mount.Name); !found && !injected(mount.Name) {
				report(pods.Object, pods.annotationAt(mountsKey()), fmt.Sprintf(
					"%s is mounted from the volume %s, but neither %s nor the Pod has it", mount.MountPath, mount.Name,
					volumesKey()))
			}
		}
	}
}

// injected reports whether the injector itself adds a volume with the name.
func injected(name string) bool {
	return strings.HasPrefix(name, "istio-") || strings.HasPrefix(name, "istiod-") || name == "workload-certs"
}

func annotationOnWorkload(h *handWritten, report report) {
	for i := range h.Pods {
		pods := &h.Pods[i]
		for _, key := range []string{volumesKey(), mountsKey()} {
			_, outside := outerAnnotations(pods)[key]
			if _, inside := pods.Value.Annotations[key]; outside && !inside && len(pods.Path) > 0 {
				report(pods.Object, []any{"metadata", "annotations", key}, fmt.Sprintf(
					"%s is on the %s and not on its Pod template, so the sidecar doesn't have the volume", key,
					pods.Location.Kind))
			}
		}
	}
}

func mountOverMeshFiles(h *handWritten, report report) {
	for i := range h.Pods {
		pods := &h.Pods[i]
		for _, mount := range pods.mounts {
			switch directory := mount.MountPath; {
			case slices.Contains(injectedDirectories(), directory):
				report(pods.Object, pods.annotationAt(mountsKey()), fmt.Sprintf(
					"the injector mounts %s too, and a container can't mount a directory twice", mount.MountPath))
			case directory == meshDirectory && h.hasMeshFiles(pods, mount):
				report(pods.Object, pods.annotationAt(mountsKey()), "the sidecar takes cert-chain.pem, key.pem and "+
					"root-cert.pem in "+meshDirectory+" for its certificate of the mesh")
			}
		}
	}
}

// meshDirectory is where a sidecar looks for a certificate of the mesh that it doesn't request
// itself.
// https://github.com/istio/istio/blob/1.30.3/pkg/security/security.go
const meshDirectory = "/etc/certs"

// meshFiles are the files of the sidecar's own certificate there.
func meshFiles() []string {
	return []string{meshDirectory + "/cert-chain.pem", meshDirectory + "/key.pem", meshDirectory + "/root-cert.pem"}
}

// hasMeshFiles reports whether the mount has files with the names of the mesh's, as far as the
// input shows: by the keys of the Secret, or by the paths in a DestinationRule.
func (h *handWritten) hasMeshFiles(pods *Pods, mount corev1.VolumeMount) bool {
	const name = "cert-chain.pem"
	volume, _ := pods.volume(mount.Name)
	inSecret := false
	if secret, known := h.secrets[pods.Location.Namespace+"/"+secretOf(volume)]; known {
		_, data := secret.Data[name]
		_, text := secret.StringData[name]
		inSecret = data || text
	}
	return inSecret || slices.ContainsFunc(h.starts, func(s start) bool {
		return s.Location.Namespace == pods.Location.Namespace && s.tls.ClientCertificate == meshDirectory+"/"+name
	})
}

// injectedDirectories are what the injector mounts into every sidecar.
func injectedDirectories() []string {
	return []string{
		"/etc/istio/proxy", "/etc/istio/pod", "/var/run/secrets/istio", "/var/run/secrets/tokens",
		"/var/run/secrets/workload-spiffe-uds", "/var/run/secrets/workload-spiffe-credentials", "/var/lib/istio/data",
		"/var/run/secrets/credential-uds",
	}
}
