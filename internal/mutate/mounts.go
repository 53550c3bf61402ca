package mutate

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// What a container needs to find the addresses of the targets. The kubelet writes hostsFile from
// hostAliases, but for containers that mount something of their own there; glibc reads it as
// switchFile says.
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/kubelet/kubelet_pods.go (makeMounts)
const (
	hostsFile  = "/etc/hosts"
	switchFile = "/etc/nsswitch.conf"
)

// checkMounts refuses mounts that could make a container find other addresses than the webhook gave
// the targets. It asks no container for its name: a name says nothing about who wrote it.
func checkMounts(mounts []corev1.VolumeMount, container func() *field.Path) field.ErrorList {
	var errs field.ErrorList
	for n, mount := range mounts {
		if problem := mountProblem(mount.MountPath); problem != "" {
			errs = append(errs, egress.Invalid(container().Child("volumeMounts").Index(n).Child("mountPath"), mount.MountPath, problem).WithOrigin(string(ReasonHostsFile)))
		}
	}
	return errs
}

func mountProblem(mountPath string) string {
	if strings.Contains(mountPath, "..") && slices.Contains(strings.Split(mountPath, "/"), "..") {
		return "has .., which a link in the image can lead anywhere, to /etc/hosts too; write the path without .."
	}
	switch path.Clean("/" + mountPath) {
	case hostsFile:
		return "a mount of your own at this path takes away the addresses that the webhook gives the targets, and the calls could leave in plain text; mount it elsewhere, or write the names as hostAliases"
	case switchFile:
		return "a mount of your own at this path decides whether programs read " + hostsFile + ", where the webhook gives the targets their addresses, and the calls could leave in plain text; mount it elsewhere"
	case "/etc", "/":
		return "a mount of your own at this path replaces " + switchFile + ", by which programs find " + hostsFile + " and in it the addresses that the webhook gives the targets, and the calls could leave in plain text; mount single files below it instead"
	}
	return ""
}
