package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// host is the machine that is to become a node.
type host struct {
	os, architecture string
	root             bool                   // whether this process is root's
	has              func(file string) bool // a program by its name, any other file by its absolute path
}

// hostPackage is a Debian package, and the files that show that it is installed.
type hostPackage struct {
	name  string
	files []string
}

// pythonWithPip stands for a python3 that has the module pip, whose installation shows in no file
// of a known place.
const pythonWithPip = "python3 -m pip"

// work tells which of the things that need more of the host have to be made.
type work struct{ rootFS, envoy, musl bool }

// hostPackages are what a node is made with, and what the work needs besides.
func hostPackages(w work) []hostPackage {
	packages := []hostPackage{
		{"runc", []string{"runc"}},
		{
			"containernetworking-plugins",
			[]string{"/usr/lib/cni/ptp", "/usr/lib/cni/host-local", "/usr/lib/cni/loopback", "/usr/lib/cni/portmap"},
		},
		{"nftables", []string{"nft"}},
		{"iptables", []string{"iptables"}},
		{"conntrack", []string{"conntrack"}},
		{"iproute2", []string{"ip"}},
	}
	if w.rootFS {
		packages = append(packages,
			hostPackage{"debootstrap", []string{"debootstrap"}},
			hostPackage{"debian-archive-keyring", []string{"/usr/share/keyrings/debian-archive-keyring.gpg"}},
		)
	}
	if w.envoy {
		packages = append(packages, hostPackage{"python3-pip", []string{pythonWithPip}})
	}
	if w.musl {
		packages = append(packages, hostPackage{"musl-tools", []string{"musl-gcc"}}, hostPackage{"gcc", []string{"gcc"}})
	}
	return packages
}

// absent are the packages that the host lacks, each with the files that are missing.
func (h host) absent(packages []hostPackage) []hostPackage {
	var absent []hostPackage
	for _, p := range packages {
		if files := slices.DeleteFunc(slices.Clone(p.files), h.has); len(files) > 0 {
			absent = append(absent, hostPackage{p.name, files})
		}
	}
	return absent
}

// refusal says why this host can't become a node, or is nil.
func (h host) refusal(absent []hostPackage) error {
	switch {
	case h.os != "linux":
		return fmt.Errorf("a node needs Linux, and this is %s: use a Debian machine or container, as root", h.os)
	case newestEnvoy().wheels[h.architecture] == "":
		return fmt.Errorf("a node needs a machine with amd64 or arm64, and this one has %s: there is no Envoy for it",
			h.architecture)
	case !h.root:
		return errors.New(
			"a node is made and run by root, and this process isn't root's: run it with sudo, or in a container",
		)
	case len(absent) > 0 && !h.has("apt-get"):
		names, files := missingOf(absent)
		return fmt.Errorf(
			"this host lacks %s and has no apt-get to install the Debian packages %s with: install what provides these "+
				"programs, or use a Debian machine",
			strings.Join(files, ", "), strings.Join(names, ", "),
		)
	default:
		return nil
	}
}

func missingOf(packages []hostPackage) (names, files []string) {
	for _, p := range packages {
		names, files = append(names, p.name), append(files, p.files...)
	}
	return names, files
}

// thisHasFile tells whether this host has a program, a file or pip.
func thisHasFile(ctx context.Context) func(string) bool {
	return func(file string) bool {
		if file == pythonWithPip {
			_, err := command{dir: ".", args: strings.Fields(pythonWithPip + " --version")}.run(ctx, func(int) {})
			return err == nil
		}
		if filepath.IsAbs(file) {
			_, err := os.Stat(file)
			return err == nil
		}
		if _, err := exec.LookPath(file); err == nil {
			return true
		}
		// Debian keeps the folders of administration out of the PATH of users, and su keeps the user's.
		return isProgram(filepath.Join("/usr/sbin", file)) || isProgram(filepath.Join("/sbin", file))
	}
}

// install installs the packages.
func install(ctx context.Context, packages []hostPackage, progress io.Writer) error {
	if len(packages) == 0 {
		return nil
	}
	names, files := missingOf(packages)
	begin := time.Now()
	tellf(progress, "apt-get: installing %s, as this host lacks %s: about 20s\n",
		strings.Join(names, ", "), strings.Join(files, ", "))
	if _, err := aptGet("update").run(ctx, still(progress, "apt-get update", begin)); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// One of many sources may be away, none of which the packages come from.
		tellf(progress, "apt-get: update failed (%s), going on with the lists as they are\n", brief(err))
	}
	args := append([]string{"install", "-y", "--no-install-recommends"}, names...)
	if _, err := aptGet(args...).run(ctx, still(progress, "apt-get install", begin)); err != nil {
		return err
	}
	tellf(progress, "apt-get: done in %s\n", since(begin))
	return nil
}

// aptGet waits for other installations that are under way, and asks no questions.
func aptGet(args ...string) command {
	return command{
		dir: ".", args: append([]string{"apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"}, args...),
		env: []string{"DEBIAN_FRONTEND=noninteractive"}, talkative: true,
	}
}

// still reports that a step of unknown length goes on.
func still(progress io.Writer, step string, begin time.Time) func(int) {
	return func(int) { tellf(progress, "%s: %s\n", step, since(begin)) }
}
