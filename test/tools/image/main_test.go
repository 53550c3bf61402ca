package main

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestWebhookImageHoldsTheBinaryAndNothingElse(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "webhook")
	put(t, binary, 0o600, "\x7fELF and so on")
	digests := map[string]bool{}
	for range 2 {
		image := written(t, webhook(binary))
		if got, want := configuration(t, image), (v1.Config{User: "65532:65532", Entrypoint: []string{"/mtls-egress-webhook"}}); !reflect.DeepEqual(got, want) {
			t.Errorf("configuration %+v, want %+v", got, want)
		}
		want := [][]entry{{{name: "mtls-egress-webhook", mode: 0o755, content: "\x7fELF and so on"}}}
		if got := content(t, image); !reflect.DeepEqual(got, want) {
			t.Errorf("layers %+v, want %+v", got, want)
		}
		if got, want := mediaTypes(t, image), []types.MediaType{types.DockerLayer}; !reflect.DeepEqual(got, want) {
			t.Errorf("media types %q, want %q", got, want)
		}
		digest, err := image.Digest()
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
	base, program, config := filepath.Join(folder, "root.tar"), filepath.Join(folder, "program"), filepath.Join(folder, "config")
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
		archive.Close(), output.Close(),
	)
	if err != nil {
		t.Fatal(err)
	}

	image := written(t, contents{
		base: base, files: []file{{program, "/usr/bin/program"}, {config, "/etc/config"}}, folders: []string{"/tmp"},
		entrypoint: "/usr/bin/program", user: "1:2", env: []string{"A=1", "B=x=y"},
	})

	if got, want := configuration(t, image), (v1.Config{User: "1:2", Entrypoint: []string{"/usr/bin/program"}, Env: []string{"A=1", "B=x=y"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("configuration %+v, want %+v", got, want)
	}
	want := [][]entry{
		{{name: "./data/", mode: 0o700, uid: 1337, gid: 1338}, {name: "./bin", mode: 0o777, link: "usr/bin"}},
		{{name: "tmp/", mode: 0o1777}, {name: "usr/bin/program", mode: 0o755, content: "\x7fELF program"}, {name: "etc/config", mode: 0o644, content: "{}"}},
	}
	if got := content(t, image); !reflect.DeepEqual(got, want) {
		t.Errorf("layers %+v, want %+v", got, want)
	}
}

func TestOtherImagesAreNotCompressed(t *testing.T) {
	zeros := filepath.Join(t.TempDir(), "zeros")
	put(t, zeros, 0o600, strings.Repeat("0", 1<<20))
	image, err := build(contents{files: []file{{zeros, "/zeros"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := mediaTypes(t, image), []types.MediaType{types.DockerUncompressedLayer}; !reflect.DeepEqual(got, want) {
		t.Errorf("media types %q, want %q", got, want)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	diff, err := layers[0].DiffID()
	if err != nil {
		t.Fatal(err)
	}
	if size, err := layers[0].Size(); err != nil || size <= 1<<20 || digest != diff {
		t.Errorf("size %d, digest %s, of the content %s, error %v; want more than 1 MiB and the same digest", size, digest, diff, err)
	}
}

func TestImageRefusesWhatIsNoProgram(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	for name, text := range map[string]string{"a script": "#!/bin/sh\n", "an empty file": "", "three letters": "\x7fEL"} {
		put(t, script, 0o700, text)
		err := write(webhook(script), "example.com/webhook:1", filepath.Join(t.TempDir(), "image.tar"))
		if want := script + ": the entry point is no Linux program; build it with GOOS=linux CGO_ENABLED=0"; err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", name, err, want)
		}
	}
}

func TestParse(t *testing.T) {
	tests := map[string]struct {
		args string
		want contents
		err  string
	}{
		"the webhook": {
			args: "-binary b -tag t -output o",
			want: contents{files: []file{{"b", "/mtls-egress-webhook"}}, entrypoint: "/mtls-egress-webhook", user: "65532:65532", compressed: true},
		},
		"all flags of other images": {
			args: "-tag t -output o -layer l -file a:/b -file c:/d -folder /tmp -entrypoint /b -user 1:1 -env A=1 -env B=",
			want: contents{
				base: "l", files: []file{{"a", "/b"}, {"c", "/d"}}, folders: []string{"/tmp"}, entrypoint: "/b", user: "1:1", env: []string{"A=1", "B="},
			},
		},
		"no tag":                 {args: "-binary b -output o", err: "-tag and -output are required"},
		"no content":             {args: "-tag t -output o -user 1:1", err: "nothing to put into the image: name the -binary, a -layer or a -file"},
		"a place that isn't one": {args: "-tag t -output o -file a:b", err: `invalid value "a:b" for flag -file: want SRC:DST, DST an absolute path`},
		"a relative folder":      {args: "-tag t -output o -folder tmp", err: `invalid value "tmp" for flag -folder: want an absolute path`},
		"a variable's name only": {args: "-tag t -output o -env A", err: `invalid value "A" for flag -env: want NAME=VALUE`},
		"an argument":            {args: "-tag t -output o -binary b more", err: `"more" is no flag`},
		"the webhook and more": {
			args: "-binary b -tag t -output o -user 1:1",
			err:  "-binary makes the webhook's image as it is: -layer, -file, -folder, -entrypoint, -user and -env are for other images",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, tag, output, err := parse(strings.Fields(test.args))
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("error %v, want %s", err, test.err)
				}
				return
			}
			if err != nil || tag != "t" || output != "o" || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %q, %q, %v; want %+v, t, o", got, tag, output, err, test.want)
			}
		})
	}
}

// written is the image that a reader of the tarball sees.
func written(t *testing.T, c contents) v1.Image {
	t.Helper()
	output := filepath.Join(t.TempDir(), "image.tar")
	if err := write(c, "example.com/image:1", output); err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(output, nil)
	if err != nil {
		t.Fatal(err)
	}
	return image
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

// content is what the layers hold.
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
			entries = append(entries, entry{name: header.Name, link: header.Linkname, content: string(text), mode: header.Mode, uid: header.Uid, gid: header.Gid})
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
