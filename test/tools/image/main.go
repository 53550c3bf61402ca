// Command image makes an OCI image without Docker, as a tarball that containerd (ctr images import), podman and docker (load) read.
//
//	go -C test/tools/image run . -binary PATH -tag NAME:TAG -output FILE.tar
//
// makes the webhook's image: its static binary and nothing else. The same binary gives the same image to the byte. Other images are composed of
//
//	-layer FILE.tar    a root file system to build on, an uncompressed tar archive
//	-file SRC:DST      a file and its place in the image; repeated
//	-folder PATH       an empty folder that everybody may write in, such as /tmp; repeated
//	-entrypoint PATH, -user UID:GID, -env NAME=VALUE (repeated)
//
// and have uncompressed layers, as they are made to be unpacked on the same machine. Files belong to root; what may be executed stays executable.
//
// It is a module of its own so that its library reaches neither the webhook's go.mod nor the one that the test servers are built from.
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
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// webhookEntrypoint is where the webhook's binary stands in its image; webhookUser is the "nonroot" of distroless images.
const (
	webhookEntrypoint = "/mtls-egress-webhook"
	webhookUser       = "65532:65532"
)

func main() {
	content, tag, output, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(2)
	}
	if err := write(content, tag, output); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// contents is what an image holds.
type contents struct {
	base       string // root file system to build on, an uncompressed tar archive, or empty
	files      []file
	folders    []string // empty folders that everybody may write in
	entrypoint string
	user       string
	env        []string // NAME=VALUE
	compressed bool     // layers, for a registry
}

// file is a file's place outside and inside of the image.
type file struct{ source, target string }

// webhook is the contents of the webhook's image.
func webhook(binary string) contents {
	return contents{files: []file{{binary, webhookEntrypoint}}, entrypoint: webhookEntrypoint, user: webhookUser, compressed: true}
}

func parse(args []string) (c contents, tag, output string, err error) {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	binary := flags.String("binary", "", "the webhook's static `PATH`, instead of the flags for other images")
	flags.StringVar(&tag, "tag", "", "`NAME:TAG` of the image, required")
	flags.StringVar(&output, "output", "", "the tarball to write, `FILE.tar`, required")
	flags.StringVar(&c.base, "layer", "", "root file system to build on, `FILE.tar`")
	flags.Func("file", "a file and its place in the image, `SRC:DST`; repeated", func(value string) error {
		source, target, found := strings.Cut(value, ":")
		if !found || source == "" || !strings.HasPrefix(target, "/") {
			return errors.New("want SRC:DST, DST an absolute path")
		}
		c.files = append(c.files, file{source, target})
		return nil
	})
	flags.Func("folder", "an empty folder that everybody may write in, `PATH`; repeated", func(value string) error {
		if !strings.HasPrefix(value, "/") {
			return errors.New("want an absolute path")
		}
		c.folders = append(c.folders, value)
		return nil
	})
	flags.StringVar(&c.entrypoint, "entrypoint", "", "program to run, `PATH` in the image")
	flags.StringVar(&c.user, "user", "", "whom the program runs as, `UID:GID`; root without")
	flags.Func("env", "environment variable, `NAME=VALUE`; repeated", func(value string) error {
		if name, _, found := strings.Cut(value, "="); !found || name == "" {
			return errors.New("want NAME=VALUE")
		}
		c.env = append(c.env, value)
		return nil
	})
	flags.SetOutput(io.Discard) // the caller prints the error
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(os.Stderr)
			flags.PrintDefaults()
		}
		return contents{}, "", "", err
	}
	if flags.NArg() > 0 {
		return contents{}, "", "", fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	if tag == "" || output == "" {
		return contents{}, "", "", errors.New("-tag and -output are required")
	}
	own := c.base != "" || len(c.files) > 0 || len(c.folders) > 0 || c.entrypoint != "" || c.user != "" || len(c.env) > 0
	switch {
	case *binary != "" && own:
		return contents{}, "", "", errors.New("-binary makes the webhook's image as it is: -layer, -file, -folder, -entrypoint, -user and -env are for other images")
	case *binary != "":
		c = webhook(*binary)
	case c.base == "" && len(c.files) == 0:
		return contents{}, "", "", errors.New("nothing to put into the image: name the -binary, a -layer or a -file")
	}
	return c, tag, output, nil
}

func write(c contents, tag, output string) error {
	reference, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	image, err := build(c)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(output, reference, image)
}

func build(c contents) (v1.Image, error) {
	layers, err := c.layers()
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.User, config.Config.Env = c.user, c.env
	if c.entrypoint != "" {
		config.Config.Entrypoint = []string{c.entrypoint}
	}
	return mutate.ConfigFile(image, config)
}
