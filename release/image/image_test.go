package image

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestWebhookImageHoldsTheBinaryAndLicensesAndNothingElse(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "webhook")
	put(t, binary, 0o600, "\x7fELF and so on")
	license := filepath.Join(t.TempDir(), "LICENSE")
	put(t, license, 0o600, "Do what you like.")
	digests := map[string]bool{}
	for range 2 {
		built, image := written(t, Webhook(binary, "arm64", license))
		wantConfig := v1.Config{User: "65532:65532", Entrypoint: []string{"/mtls-egress-webhook"}}
		if got := configuration(t, image); !reflect.DeepEqual(got, wantConfig) {
			t.Errorf("configuration %+v, want %+v", got, wantConfig)
		}
		want := [][]entry{
			{
				{
					name:    "mtls-egress-webhook",
					mode:    0o755,
					content: "\x7fELF and so on",
				},
				{name: "licenses/LICENSE", mode: 0o644, content: "Do what you like."},
			},
		}
		if got := content(t, image); !reflect.DeepEqual(got, want) {
			t.Errorf("layers %+v, want %+v", got, want)
		}
		if got, want := mediaTypes(t, built), []types.MediaType{types.OCILayer}; !reflect.DeepEqual(got, want) {
			t.Errorf("media types %q, want %q", got, want)
		}
		digest, err := built.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests[digest.String()] = true
	}
	if len(digests) != 1 {
		t.Errorf("the same binary gives different images: %v", digests)
	}
}

func TestImageOfARootFileSystemAndFiles(t *testing.T) {
	folder := t.TempDir()
	base, program, config := filepath.Join(folder, "root.tar"), filepath.Join(folder, "program"),
		filepath.Join(folder, "config")
	put(t, program, 0o700, "\x7fELF program")
	put(t, config, 0o600, "{}")
	output, err := os.Create(base)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(output)
	err = errors.Join(
		archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./data/", Mode: 0o700, Uid: 1337, Gid: 1338}),
		archive.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "./bin", Linkname: "usr/bin", Mode: 0o777}),
		archive.Close(), output.Close())
	if err != nil {
		t.Fatal(err)
	}

	_, image := written(t, Contents{
		Base: base, Files: []File{{program, "/usr/bin/program"}, {config, "/etc/config"}}, Folders: []string{"/tmp"},
		Entrypoint: "/usr/bin/program", User: "1:2", Env: []string{"A=1", "B=x=y"},
	})

	wantConfig := v1.Config{User: "1:2", Entrypoint: []string{"/usr/bin/program"}, Env: []string{"A=1", "B=x=y"}}
	if got := configuration(t, image); !reflect.DeepEqual(got, wantConfig) {
		t.Errorf("configuration %+v, want %+v", got, wantConfig)
	}
	want := [][]entry{
		{{name: "./data/", mode: 0o700, uid: 1337, gid: 1338}, {name: "./bin", mode: 0o777, link: "usr/bin"}},
		{
			{name: "tmp/", mode: 0o1777},
			{name: "usr/bin/program", mode: 0o755, content: "\x7fELF program"},
			{name: "etc/config", mode: 0o644, content: "{}"},
		},
	}
	if got := content(t, image); !reflect.DeepEqual(got, want) {
		t.Errorf("layers %+v, want %+v", got, want)
	}
}

func TestOtherImagesAreNotCompressed(t *testing.T) {
	zeros := filepath.Join(t.TempDir(), "zeros")
	put(t, zeros, 0o600, strings.Repeat("0", 1<<20))
	built, err := Contents{Files: []File{{zeros, "/zeros"}}}.Build()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := built.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if size, err := layers[0].Size(); err != nil || size <= 1<<20 {
		t.Errorf("size %d, error %v; want more than 1 MiB", size, err)
	}
}

func TestImageRefusesWhatIsNoProgram(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	for name, text := range map[string]string{"a script": "#!/bin/sh\n", "an empty file": "",
		"three letters": "\x7fEL"} {
		put(t, script, 0o700, text)
		_, err := Webhook(script, "arm64").Build()
		if want := script + ": the entry point is not a Linux program: build it with GOOS=linux CGO_ENABLED=0"; err == nil ||
			err.Error() != want {
			t.Errorf("%s: error %v, want %s", name, err, want)
		}
	}
}

// written returns the image as it is pushed to a registry, and as it is read from the tarball,
// which has Docker's media types.
func written(t *testing.T, c Contents) (built, image v1.Image) {
	t.Helper()
	built, err := c.Build()
	if err != nil {
		t.Fatal(err)
	}
	reference, err := name.NewTag("example.com/image:1")
	if err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(output, reference, built); err != nil {
		t.Fatal(err)
	}
	if image, err = tarball.ImageFromPath(output, nil); err != nil {
		t.Fatal(err)
	}
	return built, image
}

func configuration(t *testing.T, image v1.Image) v1.Config {
	t.Helper()
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.OS != "linux" {
		t.Errorf("operating system %q, want linux", file.OS)
	}
	return file.Config
}

func mediaTypes(t *testing.T, image v1.Image) []types.MediaType {
	t.Helper()
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var found []types.MediaType
	for _, layer := range manifest.Layers {
		found = append(found, layer.MediaType)
	}
	return found
}

// entry is a file in a layer.
type entry struct {
	name, link, content string
	mode                int64
	uid, gid            int
}

// content returns the files in the layers.
func content(t *testing.T, image v1.Image) [][]entry {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var found [][]entry
	for _, layer := range layers {
		reader, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		var entries []entry
		archive := tar.NewReader(reader)
		for {
			header, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(
				entries,
				entry{
					name:    header.Name,
					link:    header.Linkname,
					content: string(text),
					mode:    header.Mode,
					uid:     header.Uid,
					gid:     header.Gid,
				},
			)
		}
		found = append(found, entries)
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
	}
	return found
}

func put(t *testing.T, path string, mode os.FileMode, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}
