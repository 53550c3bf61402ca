package main

import (
	"reflect"
	"slices"
	"testing"
)

func TestHostPackages(t *testing.T) {
	always := []string{"runc", "containernetworking-plugins", "nftables", "iptables", "conntrack", "iproute2"}
	tests := map[string]struct {
		work work
		more []string
	}{
		"everything is made: what a cluster runs with": {},
		"a root file system has to be made": {
			work{rootFS: true}, []string{"debootstrap", "debian-archive-keyring"},
		},
		"Envoy has to be downloaded":         {work{envoy: true}, []string{"python3-pip"}},
		"the musl client has to be compiled": {work{musl: true}, []string{"musl-tools", "gcc"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, files := missingOf(hostPackages(test.work))
			if want := slices.Concat(always, test.more); !slices.Equal(got, want) {
				t.Errorf("packages %v, want %v", got, want)
			}
			if len(files) < len(got) {
				t.Errorf("files %v: want at least one for each package", files)
			}
		})
	}
}

func TestAbsentPackagesAreThoseWithAMissingFile(t *testing.T) {
	packages := []hostPackage{{"whole", []string{"a", "b"}}, {"half", []string{"a", "c"}}, {"none", []string{"c", "d"}}}
	h := host{has: func(file string) bool { return file == "a" || file == "b" }}
	want := []hostPackage{{"half", []string{"c"}}, {"none", []string{"c", "d"}}}
	if got := h.absent(packages); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if packages[1].files[0] != "a" {
		t.Errorf("the list of packages changed: %v", packages)
	}
}

func TestRefusal(t *testing.T) {
	lacking := []hostPackage{{"iptables", []string{"iptables"}}, {"nftables", []string{"nft"}}}
	tests := map[string]struct {
		os, architecture string
		user             bool
		noApt            bool
		absent           []hostPackage
		want             string
	}{
		"root on Debian, with all packages": {os: "linux", architecture: "amd64"},
		"root on Debian, without packages":  {os: "linux", architecture: "arm64", absent: lacking},
		"another Linux, with all programs":  {os: "linux", architecture: "amd64", noApt: true},
		"another Linux, without the programs": {
			os:           "linux",
			architecture: "amd64",
			noApt:        true,
			absent:       lacking,
			want: "this host lacks iptables, nft and has no apt-get to install the Debian packages iptables, nftables " +
				"with: install what provides these programs, or use a Debian machine",
		},
		"a Mac": {
			os:           "darwin",
			architecture: "arm64",
			user:         true,
			noApt:        true,
			absent:       lacking,
			want:         "a node needs Linux, and this is darwin: use a Debian machine or container, as root",
		},
		"a processor without Envoy": {
			os:           "linux",
			architecture: "riscv64",
			want:         "a node needs a machine with amd64 or arm64, and this one has riscv64: there is no Envoy for it",
		},
		"not root": {
			os:           "linux",
			architecture: "amd64",
			user:         true,
			absent:       lacking,
			want:         "a node is made and run by root, and this process isn't root's: run it with sudo, or in a container",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := host{
				os:           test.os,
				architecture: test.architecture,
				root:         !test.user,
				has:          func(file string) bool { return file == "apt-get" && !test.noApt },
			}
			got := ""
			if err := h.refusal(test.absent); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestThisHostHasWhatItRunsOn(t *testing.T) {
	has := thisHasFile(t.Context())
	for file, want := range map[string]bool{"go": true, "no-such-program": false, "/etc": true, "/no/such/file": false} {
		if got := has(file); got != want {
			t.Errorf("has %s: %t, want %t", file, got, want)
		}
	}
}
