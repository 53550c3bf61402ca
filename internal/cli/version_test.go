package cli

import (
	"encoding/json"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVersionSaysWhatIsKnown(t *testing.T) {
	commit := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.modified", Value: "false"}}
	changed := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.modified", Value: "true"}}
	tests := map[string]struct {
		released string
		commit   string
		info     *debug.BuildInfo
		want     string
	}{
		"nothing is known": {want: "(devel)"},
		"a release without build information": {
			released: "v1.2.3",
			want:     "v1.2.3",
		},
		"the linker's version goes before that of the toolchain": {
			released: "v1.2.3",
			info: &debug.BuildInfo{
				GoVersion: "go1.26.0",
				Main:      debug.Module{Version: "v1.2.4-0.20260101000000-0123abc"},
				Settings:  commit,
			},
			want: "v1.2.3 (commit 0123abc, go1.26.0)",
		},
		"a release without the toolchain's stamp has the commit from the linker": {
			released: "v1.2.3",
			commit:   "0123abc",
			info:     &debug.BuildInfo{GoVersion: "go1.26.0"},
			want:     "v1.2.3 (commit 0123abc, go1.26.0)",
		},
		"go install knows the version only": {
			info: &debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "v1.2.3"}},
			want: "v1.2.3 (go1.26.0)",
		},
		"a build from modified sources": {
			info: &debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "(devel)"}, Settings: changed},
			want: "(devel) (commit 0123abc with changes, go1.26.0)",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := buildOf(test.released, test.commit, test.info).String(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestVersionIsPrintedInTwoWays(t *testing.T) {
	ofCommand, _, err := execute("version")
	ofFlag, _, flagErr := execute("--version")
	if err != nil || flagErr != nil || ofCommand != ofFlag || !strings.HasPrefix(ofFlag, name+" ") {
		t.Errorf("version: %q, %v; --version: %q, %v", ofCommand, err, ofFlag, flagErr)
	}
	encoded, _, err := execute("version", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var got build
	if err := json.Unmarshal([]byte(encoded), &got); err != nil {
		t.Fatal(err)
	}
	info, _ := debug.ReadBuildInfo()
	if diff := cmp.Diff(buildOf(version, commit, info), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
