// Command pack builds an OCI image without Docker, as a tarball for containerd (ctr images import),
// podman and docker (load).
//
//	go -C release run ./pack -binary PATH -license FILE -tag NAME:TAG -output FILE.tar
//
// builds the webhook's image for the architecture of this machine, as in a release: its static
// binary and the licenses. The build is reproducible. Other images are composed of
//
//	-layer FILE.tar    a base root file system, an uncompressed tar archive
//	-file SRC:DST      a file and its path in the image; repeatable
//	-folder PATH       an empty world-writable folder, such as /tmp; repeatable
//	-entrypoint PATH, -user UID:GID, -env NAME=VALUE (repeatable)
//
// Their layers are not compressed, because they are unpacked on the same machine. Files belong to
// root. Executable files stay executable.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"mtls.egress/webhook/release/image"
)

func main() {
	content, tag, output, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(2)
	}
	if err := write(content, tag, output); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func parse(args []string) (c image.Contents, tag, output string, err error) {
	flags := flag.NewFlagSet("pack", flag.ContinueOnError)
	binary := flags.String("binary", "", "`PATH` of the webhook's static binary, instead of the flags for other images")
	var licenses []string
	flags.Func("license", "`FILE` with a license of the binary, for /licenses; repeatable", func(value string) error {
		licenses = append(licenses, value)
		return nil
	})
	flags.StringVar(&tag, "tag", "", "`NAME:TAG` of the image, required")
	flags.StringVar(&output, "output", "", "the tarball, `FILE.tar`, required")
	flags.StringVar(&c.Base, "layer", "", "base root file system, `FILE.tar`")
	flags.Func("file", "a file and its path in the image, `SRC:DST`; repeatable", func(value string) error {
		source, target, found := strings.Cut(value, ":")
		if !found || source == "" || !strings.HasPrefix(target, "/") {
			return errors.New("want SRC:DST, DST an absolute path")
		}
		c.Files = append(c.Files, image.File{Source: source, Target: target})
		return nil
	})
	flags.Func("folder", "an empty world-writable folder, `PATH`; repeatable", func(value string) error {
		if !strings.HasPrefix(value, "/") {
			return errors.New("want an absolute path")
		}
		c.Folders = append(c.Folders, value)
		return nil
	})
	flags.StringVar(&c.Entrypoint, "entrypoint", "", "program to run, `PATH` in the image")
	flags.StringVar(&c.User, "user", "", "user of the program, `UID:GID`; default: root")
	flags.Func("env", "environment variable, `NAME=VALUE`; repeatable", func(value string) error {
		if name, _, found := strings.Cut(value, "="); !found || name == "" {
			return errors.New("want NAME=VALUE")
		}
		c.Env = append(c.Env, value)
		return nil
	})
	flags.SetOutput(io.Discard) // the caller prints the error
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(os.Stderr)
			flags.PrintDefaults()
		}
		return image.Contents{}, "", "", err
	}
	if flags.NArg() > 0 {
		return image.Contents{}, "", "", fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	if tag == "" || output == "" {
		return image.Contents{}, "", "", errors.New("-tag and -output are required")
	}
	own := c.Base != "" || len(c.Files) > 0 || len(c.Folders) > 0 || c.Entrypoint != "" || c.User != "" ||
		len(c.Env) > 0
	switch {
	case *binary != "" && own:
		return image.Contents{}, "", "", errors.New(
			"-binary builds the webhook's image: -layer, -file, -folder, -entrypoint, -user and " +
				"-env are for other images")
	case *binary != "" && len(licenses) == 0:
		return image.Contents{}, "", "", errors.New(
			"the webhook's image must contain its licenses: set -license for each file")
	case *binary != "":
		return image.Webhook(*binary, runtime.GOARCH, licenses...), tag, output, nil
	case len(licenses) > 0:
		return image.Contents{}, "", "", errors.New("-license requires -binary")
	case c.Base == "" && len(c.Files) == 0:
		return image.Contents{}, "", "", errors.New("the image would be empty: set -binary, -layer or -file")
	}
	c.Architecture = runtime.GOARCH
	return c, tag, output, nil
}

func write(c image.Contents, tag, output string) error {
	reference, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	built, err := c.Build()
	if err != nil {
		return err
	}
	return tarball.WriteToFile(output, reference, built)
}
