package mutate

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/interception"
)

// inject adds the volumes and mounts for the sidecar, the sinkhole address of each host, and the
// labels that the Istio objects select. at is the parent path of metadata and spec: nil for a Pod,
// spec.template for a workload. inject never changes what the user wrote. A conflict is an error,
// and with any error there are no operations. It is idempotent. settings are those of the mesh for
// Pods without annotations.
func inject(
	pod *corev1.Pod, targets []egress.Target, settings interception.Settings, at *field.Path,
) (patch, []Warning, field.ErrorList) {
	metadata, spec := at.Child("metadata"), at.Child("spec")
	included, warnings, errs := checkTraffic(pod.Annotations, targets, settings, metadata.Child("annotations"))
	volumes, mounts := sidecarVolumes(targets)

	annotations, annotationErrs := sidecarAnnotations(pod, volumes, mounts, metadata.Child("annotations"))
	maps.Copy(annotations, included)
	labels, labelErrs := hostLabels(pod.Labels, targets, metadata.Child("labels"))
	aliases, aliasErrs := hostAliases(pod.Spec.HostAliases, targets, spec.Child("hostAliases"))
	missing, volumeErrs := missingVolumes(pod.Spec.Volumes, volumes, spec.Child("volumes"))
	errs = slices.Concat(because(ReasonTrafficAnnotation, errs), because(ReasonVolumeClash, annotationErrs),
		because(ReasonReservedLabel, labelErrs), because(ReasonHostAlias, aliasErrs),
		because(ReasonVolumeClash, volumeErrs))

	p := patch{annotations: annotations}
	p.setKeys("/metadata/annotations", pod.Annotations, annotations)
	p.setKeys("/metadata/labels", pod.Labels, labels)
	appendTo(&p, "/spec/hostAliases", len(pod.Spec.HostAliases), aliases)
	if egress.HasSidecar(pod) {
		appendTo(&p, "/spec/volumes", len(pod.Spec.Volumes), missing)
		errs = append(
			errs,
			mountDirectly(&p, "/spec/initContainers", pod.Spec.InitContainers, mounts, spec.Child("initContainers"))...)
		errs = append(
			errs,
			mountDirectly(&p, "/spec/containers", pod.Spec.Containers, mounts, spec.Child("containers"))...)
	}
	if len(errs) > 0 {
		return patch{}, nil, because(ReasonVolumeClash, errs)
	}
	ownTLS, otherPorts := AppURLWarnings(pod, targets, spec)
	return p, slices.Concat(warnings, proxyWarnings(pod, targets, spec), ownTLS, otherPorts,
		rightsWarnings(pod, spec)), nil
}

// sidecarVolumes returns the volumes and mounts for the sidecar. It mounts the whole Secret,
// because the kubelet doesn't update a subPath mount when the Secret changes.
//
// https://kubernetes.io/docs/concepts/configuration/secret/#using-secrets-as-files-from-a-pod
func sidecarVolumes(targets []egress.Target) ([]corev1.Volume, []corev1.VolumeMount) {
	volumes := make([]corev1.Volume, 0, len(targets))
	mounts := make([]corev1.VolumeMount, 0, len(targets))
	for _, t := range targets {
		volumes = append(volumes, corev1.Volume{Name: egress.VolumeName(t.Host), VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: t.SecretName}}})
		mounts = append(mounts,
			corev1.VolumeMount{Name: egress.VolumeName(t.Host), MountPath: egress.MountPath(t.Host), ReadOnly: true})
		if t.ServerCA.ConfigMap.Name == "" {
			continue
		}
		volumes = append(volumes, corev1.Volume{Name: egress.CAVolumeName(t.Host), VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: t.ServerCA.ConfigMap.Name},
			},
		}})
		mounts = append(
			mounts,
			corev1.VolumeMount{
				Name:      egress.CAVolumeName(t.Host),
				MountPath: egress.CAMountPath(t.Host),
				ReadOnly:  true,
			},
		)
	}
	return volumes, mounts
}

// sidecarAnnotations returns the new values of Istio's two volume annotations if they must change.
func sidecarAnnotations(
	pod *corev1.Pod,
	volumes []corev1.Volume,
	mounts []corev1.VolumeMount,
	at *field.Path,
) (map[string]string, field.ErrorList) {
	annotations := pod.Annotations
	volumeText, errs := mergeVolumes(annotations[annotation.SidecarUserVolume.Name], volumes, pod.Spec.Volumes,
		at.Key(annotation.SidecarUserVolume.Name))
	mountText, mountErrs := mergeMounts(annotations[annotation.SidecarUserVolumeMount.Name], mounts,
		at.Key(annotation.SidecarUserVolumeMount.Name))
	changed := map[string]string{}
	for name, text := range map[string]string{
		annotation.SidecarUserVolume.Name:      volumeText,
		annotation.SidecarUserVolumeMount.Name: mountText,
	} {
		if annotations[name] != text {
			changed[name] = text
		}
	}
	return changed, append(errs, mountErrs...)
}

// hostLabels returns the missing labels. They are reserved for the webhook: the controller counts
// by them and the Istio objects select by them. Another value is therefore rejected, not replaced.
func hostLabels(
	labels map[string]string,
	targets []egress.Target,
	at *field.Path,
) (map[string]string, field.ErrorList) {
	keys := []string{egress.LabelInjected}
	for _, t := range targets {
		keys = append(keys, egress.HostLabel(t.Host))
	}
	missing := map[string]string{}
	var errs field.ErrorList
	for _, key := range keys {
		value, present := labels[key]
		switch {
		case !present:
			missing[key] = egress.LabelValue
		case value != egress.LabelValue:
			errs = append(errs, egress.Invalid(at.Key(key), value, "the label is reserved for the webhook; remove it"))
		}
	}
	return missing, errs
}

// hostAliases returns the missing aliases, which map each host to its sinkhole address.
func hostAliases(
	existing []corev1.HostAlias,
	targets []egress.Target,
	at *field.Path,
) ([]corev1.HostAlias, field.ErrorList) {
	var missing []corev1.HostAlias
	var errs field.ErrorList
	for _, t := range targets {
		address := t.Address().String()
		present := false
		for i, alias := range existing {
			if !slices.ContainsFunc(alias.Hostnames, func(name string) bool { return sameHost(name, t.Host) }) {
				continue
			}
			if given, err := netip.ParseAddr(alias.IP); err == nil && t.HasAddress(given) {
				present = true
				continue
			}
			errs = append(errs, egress.Invalid(at.Index(i), alias.IP, fmt.Sprintf(
				"gives %s another address, so calls would bypass the sidecar; remove the host, because "+
					"the webhook maps it to %s", t.Host, address)))
		}
		if !present {
			missing = append(missing, corev1.HostAlias{IP: address, Hostnames: []string{t.Host}})
		}
	}
	return missing, errs
}

func sameHost(name, host string) bool {
	return strings.EqualFold(strings.TrimSuffix(name, "."), host)
}

// missingVolumes returns the wanted volumes that spec.volumes lacks. It rejects a volume with the
// same name but other content.
func missingVolumes(existing, wanted []corev1.Volume, at *field.Path) ([]corev1.Volume, field.ErrorList) {
	var missing []corev1.Volume
	var errs field.ErrorList
	for _, volume := range wanted {
		i := slices.IndexFunc(existing, func(v corev1.Volume) bool { return v.Name == volume.Name })
		switch {
		case i < 0:
			missing = append(missing, volume)
		case !sameSource(existing[i], volume):
			errs = append(errs, volumeClash(at.Index(i), volume))
		}
	}
	return missing, errs
}

// sameSource compares two volumes without their file modes, which the API server defaults.
func sameSource(existing, wanted corev1.Volume) bool {
	plain := *existing.DeepCopy()
	if plain.Secret != nil {
		plain.Secret.DefaultMode = nil
	}
	if plain.ConfigMap != nil {
		plain.ConfigMap.DefaultMode = nil
	}
	return equality.Semantic.DeepEqual(plain, wanted)
}

// mountDirectly adds mounts to a sidecar that is already in the Pod, because Istio reads its
// annotations only at injection.
func mountDirectly(
	p *patch,
	pointer string,
	containers []corev1.Container,
	mounts []corev1.VolumeMount,
	at *field.Path,
) field.ErrorList {
	var errs field.ErrorList
	for i := range containers {
		if !egress.IsSidecar(containers[i]) {
			continue
		}
		existing := mountTable{}
		for _, mount := range containers[i].VolumeMounts {
			existing.add(mount)
		}
		var missing []corev1.VolumeMount
		for _, mount := range mounts {
			present, found := existing.at(mount.MountPath)
			switch {
			case !found:
				missing = append(missing, mount)
			case present != identityOf(mount):
				errs = append(errs, mountClash(at.Index(i).Child("volumeMounts"), mount, present.name))
			}
		}
		appendTo(p, path.Join(index(pointer, i), "volumeMounts"), len(containers[i].VolumeMounts), missing)
	}
	return errs
}
