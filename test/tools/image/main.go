// Command image makes an OCI image of the webhook's static binary, without Docker: an image with that one file, as a tarball
// that containerd (ctr images import), podman and docker (load) read.
//
//	go -C test/tools/image run . -binary PATH -tag NAME:TAG -output FILE.tar
//
// The same binary gives the same image to the byte. It is a module of its own so that its library reaches neither the
// webhook's go.mod nor the one that the test servers are built from.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// entrypoint is where the binary stands in the image; user is the "nonroot" of distroless images.
const (
	entrypoint = "/mtls-egress-webhook"
	user       = "65532:65532"
)

func main() {
	binary := flag.String("binary", "", "the static binary, required")
	tag := flag.String("tag", "", "name and tag of the image, required")
	output := flag.String("output", "", "the tarball to write, required")
	flag.Parse()
	if *binary == "" || *tag == "" || *output == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(*binary, *tag, *output); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func write(binary, tag, output string) error {
	reference, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	image, err := build(content)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(output, reference, image)
}

// build returns an image that holds content as its entry point and nothing else.
func build(content []byte) (v1.Image, error) {
	archive, err := pack(content)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil })
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config.Entrypoint, file.Config.User = []string{entrypoint}, user
	return mutate.ConfigFile(image, file)
}

// pack writes the file system of the image. Neither time nor owner of the binary goes in.
func pack(content []byte) ([]byte, error) {
	if !bytes.HasPrefix(content, []byte("\x7fELF")) {
		return nil, errors.New("the binary is no Linux program; build it with GOOS=linux CGO_ENABLED=0")
	}
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	if err := writer.WriteHeader(&tar.Header{Name: entrypoint[1:], Mode: 0o755, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	if _, err := writer.Write(content); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}
