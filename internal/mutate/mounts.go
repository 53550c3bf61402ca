package mutate

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// The files with which a container finds the addresses of the targets. The kubelet writes hostsFile
// from hostAliases, except for containers that mount something at that path. switchFile controls
// whether glibc reads hostsFile.
//
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/kubelet/kubelet_pods.go (makeMounts)
const (
	hostsFile  = "/etc/hosts"
	switchFile = "/etc/nsswitch.conf"
)

// checkMounts rejects mounts with which a container could find other addresses for the targets. It
// makes no exception for container names, because anyone can choose a name.
func checkMounts(mounts []corev1.VolumeMount, container func() *field.Path) field.ErrorList {
	var errs field.ErrorList
	for n, mount := range mounts {
		if problem := mountProblem(mount.MountPath); problem != "" {
			errs = append(
				errs,
				egress.Invalid(container().Child("volumeMounts").Index(n).Child("mountPath"), mount.MountPath,
					problem).WithOrigin(string(ReasonHostsFile)),
			)
		}
	}
	return errs
}

func mountProblem(mountPath string) string {
	if strings.Contains(mountPath, "..") && slices.Contains(strings.Split(mountPath, "/"), "..") {
		return "has .., which a symbolic link in the image can resolve to any path, including /etc/hosts; " +
			"write the path without .."
	}
	switch path.Clean("/" + mountPath) {
	case hostsFile:
		return "a mount at this path hides the addresses that the webhook sets for the targets, so calls could leave " +
			"in plain text; mount it elsewhere, or use hostAliases for the names"
	case switchFile:
		return "a mount at this path decides whether programs read " + hostsFile + ", where the webhook sets the " +
			"addresses of the targets, so calls could leave in plain text; mount it elsewhere"
	case "/etc", "/":
		return "a mount at this path replaces " + switchFile + ", which tells programs to read " + hostsFile +
			" with the addresses of the targets, so calls could leave in plain text; mount " +
			"single files below it instead"
	}
	return ""
}
