// Package image builds OCI images without Docker. Builds are reproducible: the same contents result
// in the same image, because it contains neither the time nor the owner of a file.
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

// webhookEntrypoint is the path of the webhook's binary in its image. webhookUser is the user
// "nonroot" of distroless images.
const (
	webhookEntrypoint = "/mtls-egress-webhook"
	webhookUser       = "65532:65532"
)

// licenseFolder is the folder for licenses in an image.
const licenseFolder = "/licenses"

// Contents is the content of an image. Files belong to root. Executable files stay executable.
type Contents struct {
	Base         string // base root file system, an uncompressed tar archive, or empty
	Files        []File
	Folders      []string // empty world-writable folders, such as /tmp
	Entrypoint   string   // path of the program to run
	User         string   // UID:GID of the program; empty: root
	Env          []string // NAME=VALUE
	Architecture string   // GOARCH; the operating system is Linux
	Labels       map[string]string
	Created      time.Time // creation time of the image; zero: none
	Compressed   bool      // compress the layers, for a registry; not needed on the same machine
}

// File is the path of a file outside and inside the image.
type File struct{ Source, Target string }

// Webhook returns the contents of the webhook's image: only its static binary and the licenses.
func Webhook(binary, architecture string, licenses ...string) Contents {
	files := []File{{binary, webhookEntrypoint}}
	for _, license := range licenses {
		files = append(files, File{license, path.Join(licenseFolder, filepath.Base(license))})
	}
	return Contents{
		Files:        files,
		Entrypoint:   webhookEntrypoint,
		User:         webhookUser,
		Architecture: architecture,
		Compressed:   true,
	}
}

// Build builds the image. It reads the files, and reads them again when the image is written.
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
