// Command pack makes an OCI image without Docker, as a tarball that containerd (ctr images import),
// podman and docker (load) read.
//
//	go -C release run ./pack -binary PATH -licence FILE -tag NAME:TAG -output FILE.tar
//
// makes the webhook's image for this machine's architecture, as it is released: its static binary
// and the licences of what is in it. The same files give the same image to the byte. Other images
// are composed of
//
//	-layer FILE.tar    a root file system to build on, an uncompressed tar archive
//	-file SRC:DST      a file and its place in the image; repeated
//	-folder PATH       an empty folder that everybody may write in, such as /tmp; repeated
//	-entrypoint PATH, -user UID:GID, -env NAME=VALUE (repeated)
//
// and have uncompressed layers, as they are made to be unpacked on the same machine. Files belong
// to root; what may be executed stays executable.
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
	binary := flags.String("binary", "", "the webhook's static `PATH`, instead of the flags for other images")
	var licences []string
	flags.Func("licence", "`FILE` that goes with the binary, below /licenses; repeated", func(value string) error {
		licences = append(licences, value)
		return nil
	})
	flags.StringVar(&tag, "tag", "", "`NAME:TAG` of the image, required")
	flags.StringVar(&output, "output", "", "the tarball to write, `FILE.tar`, required")
	flags.StringVar(&c.Base, "layer", "", "root file system to build on, `FILE.tar`")
	flags.Func("file", "a file and its place in the image, `SRC:DST`; repeated", func(value string) error {
		source, target, found := strings.Cut(value, ":")
		if !found || source == "" || !strings.HasPrefix(target, "/") {
			return errors.New("want SRC:DST, DST an absolute path")
		}
		c.Files = append(c.Files, image.File{Source: source, Target: target})
		return nil
	})
	flags.Func("folder", "an empty folder that everybody may write in, `PATH`; repeated", func(value string) error {
		if !strings.HasPrefix(value, "/") {
			return errors.New("want an absolute path")
		}
		c.Folders = append(c.Folders, value)
		return nil
	})
	flags.StringVar(&c.Entrypoint, "entrypoint", "", "program to run, `PATH` in the image")
	flags.StringVar(&c.User, "user", "", "whom the program runs as, `UID:GID`; root without")
	flags.Func("env", "environment variable, `NAME=VALUE`; repeated", func(value string) error {
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
		return image.Contents{}, "", "", fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	if tag == "" || output == "" {
		return image.Contents{}, "", "", errors.New("-tag and -output are required")
	}
	own := c.Base != "" || len(c.Files) > 0 || len(c.Folders) > 0 || c.Entrypoint != "" || c.User != "" || len(c.Env) > 0
	switch {
	case *binary != "" && own:
		return image.Contents{}, "", "", errors.New("-binary makes the webhook's image as it is: -layer, -file, -folder, -entrypoint, -user and -env are for other images")
	case *binary != "" && len(licences) == 0:
		return image.Contents{}, "", "", errors.New("the webhook's image has its licences in it: name each file with -licence")
	case *binary != "":
		return image.Webhook(*binary, runtime.GOARCH, licences...), tag, output, nil
	case len(licences) > 0:
		return image.Contents{}, "", "", errors.New("-licence goes with -binary")
	case c.Base == "" && len(c.Files) == 0:
		return image.Contents{}, "", "", errors.New("nothing to put into the image: name the -binary, a -layer or a -file")
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
