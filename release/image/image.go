// Package image makes OCI images without Docker. The same contents give the same image to the byte:
// neither time nor owner of a file goes in.
package image

import (
	"path"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// webhookEntrypoint is where the webhook's binary stands in its image; webhookUser is the "nonroot"
// of distroless images.
const (
	webhookEntrypoint = "/mtls-egress-webhook"
	webhookUser       = "65532:65532"
)

// licenceFolder is where an image has the licences of what is in it.
const licenceFolder = "/licenses"

// Contents is what an image holds. Files belong to root; what may be executed stays executable.
type Contents struct {
	Base         string // root file system to build on, an uncompressed tar archive, or empty
	Files        []File
	Folders      []string // empty folders that everybody may write in, such as /tmp
	Entrypoint   string   // program to run, a path in the image
	User         string   // whom it runs as, UID:GID; root when empty
	Env          []string // NAME=VALUE
	Architecture string   // as in GOARCH; the operating system is Linux
	Labels       map[string]string
	Created      time.Time // what the image says of its age; the zero time stands for none
	Compressed   bool      // layers, for a registry; else they are made to be unpacked on the same machine
}

// File is a file's place outside and inside of the image.
type File struct{ Source, Target string }

// Webhook is the contents of the webhook's image: its static binary and the licences of what is in
// it, nothing else.
func Webhook(binary, architecture string, licences ...string) Contents {
	files := []File{{binary, webhookEntrypoint}}
	for _, licence := range licences {
		files = append(files, File{licence, path.Join(licenceFolder, filepath.Base(licence))})
	}
	return Contents{Files: files, Entrypoint: webhookEntrypoint, User: webhookUser, Architecture: architecture, Compressed: true}
}

// Build makes the image. It reads the files, and again when the image is written.
func (c Contents) Build() (v1.Image, error) {
	layers, err := c.layers()
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", c.Architecture, v1.Time{Time: c.Created}
	config.Config.User, config.Config.Env, config.Config.Labels = c.User, c.Env, c.Labels
	if c.Entrypoint != "" {
		config.Config.Entrypoint = []string{c.Entrypoint}
	}
	return mutate.ConfigFile(image, config)
}
