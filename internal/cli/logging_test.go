package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
)

func TestLogLevels(t *testing.T) {
	tests := map[string]struct {
		level string
		want  []string
	}{
		"debug has all verbosities, under the one name that collectors know": {
			level: "debug",
			want:  []string{"DEBUG client", "DEBUG admission", "INFO start", "ERROR failure"},
		},
		"info leaves verbosities out": {
			level: "info",
			want:  []string{"INFO start", "ERROR failure"},
		},
		"warn is what logr can't say": {
			level: "warn",
			want:  []string{"ERROR failure"},
		},
		"error is what can't be switched off": {
			level: "error",
			want:  []string{"ERROR failure"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var output bytes.Buffer
			options := logOptions{format: logJSON, level: test.level}
			log := logr.FromSlogHandler(options.handler(&output))
			log.V(4).Info("client")
			log.V(1).Info("admission")
			log.Info("start")
			log.Error(io.EOF, "failure")

			var got []string
			for line := range strings.Lines(output.String()) {
				var entry struct {
					Time  string `json:"time"`
					Level string `json:"level"`
					Msg   string `json:"msg"`
				}
				if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time == "" {
					t.Fatalf("%q: time %q, error %v", line, entry.Time, err)
				}
				got = append(got, entry.Level+" "+entry.Msg)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("log differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLogAsText(t *testing.T) {
	var output bytes.Buffer
	options := logOptions{format: logText, level: "info"}
	logr.FromSlogHandler(
		options.handler(&output)).WithName("health").Info("Not ready", "level", "own", "reason", "no certificate")
	_, got, _ := strings.Cut(output.String(), " ") // the time
	if want := "level=INFO msg=\"Not ready\" logger=health level=own reason=\"no certificate\"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
