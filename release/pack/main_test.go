package main

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/registry"

	"mtls.egress/webhook/release/image"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		args string
		want image.Contents
		err  string
	}{
		"the webhook": {
			args: "-binary b -license /a/LICENSE -tag t -output o",
			want: image.Webhook("b", runtime.GOARCH, "/a/LICENSE"),
		},
		"all flags of other images": {
			args: "-tag t -output o -layer l -file a:/b -file c:/d -folder /tmp -entrypoint /b " +
				"-user 1:1 -env A=1 -env B=",
			want: image.Contents{
				Base:         "l",
				Files:        []image.File{{Source: "a", Target: "/b"}, {Source: "c", Target: "/d"}},
				Folders:      []string{"/tmp"},
				Entrypoint:   "/b",
				User:         "1:1",
				Env:          []string{"A=1", "B="},
				Architecture: runtime.GOARCH,
			},
		},
		"no tag": {args: "-binary b -output o", err: "-tag and -output are required"},
		"no content": {
			args: "-tag t -output o -user 1:1",
			err:  "the image would be empty: set -binary, -layer or -file",
		},
		"a place that isn't one": {
			args: "-tag t -output o -file a:b",
			err:  `invalid value "a:b" for flag -file: want SRC:DST, DST an absolute path`,
		},
		"a relative folder": {
			args: "-tag t -output o -folder tmp",
			err:  `invalid value "tmp" for flag -folder: want an absolute path`,
		},
		"a variable's name only": {
			args: "-tag t -output o -env A",
			err:  `invalid value "A" for flag -env: want NAME=VALUE`,
		},
		"no license": {
			args: "-tag t -output o -binary b",
			err:  "the webhook's image must contain its licenses: set -license for each file",
		},
		"a license of another": {args: "-tag t -output o -file a:/b -license l", err: "-license requires -binary"},
		"an argument":          {args: "-tag t -output o -binary b more", err: `"more" is not a flag`},
		"the webhook and more": {
			args: "-binary b -tag t -output o -user 1:1",
			err: "-binary builds the webhook's image: -layer, -file, -folder, -entrypoint, -user and " +
				"-env are for other images",
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

// TestCranePushesTheTarball does what docs/how-to/install.md does with bin/image.tar.
func TestCranePushesTheTarball(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	reference := strings.TrimPrefix(server.URL, "http://") + "/mtls-egress-webhook:0.1.0"
	folder := t.TempDir()
	binary, output := filepath.Join(folder, "webhook"), filepath.Join(folder, "image.tar")
	if err := os.WriteFile(binary, []byte("\x7fELF and so on"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(image.Webhook(binary, "arm64"), reference, output); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", folder)
	loaded, err := crane.Load(output)
	if err != nil {
		t.Fatal(err)
	}
	if err := crane.Push(loaded, reference); err != nil {
		t.Fatal(err)
	}
	pushed, err := crane.Pull(reference)
	if err != nil {
		t.Fatal(err)
	}
	config, err := pushed.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != "arm64" || !reflect.DeepEqual(config.Config.Entrypoint, []string{"/mtls-egress-webhook"}) {
		t.Errorf("the registry has an image for %s that starts %q", config.Architecture, config.Config.Entrypoint)
	}
}
