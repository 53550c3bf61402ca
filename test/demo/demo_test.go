package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/apiserver"
)

func TestTheFirstRunSaysHowLongItTakes(t *testing.T) {
	const first = "The first run builds its tools: about 10 minutes on 2 cores, less if the API server can be " +
		"downloaded. Later runs start immediately.\n"
	// So that the cache of the go command knows what the result depends on.
	if _, err := os.ReadFile("../../Makefile"); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		folder string // in the cache
		want   string
	}{
		"the cache is empty":             {"", first},
		"a build was interrupted":        {"0123456789abcdef/tmp-1", first},
		"the servers were built already": {"0123456789abcdef/assets-01234567", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			if err := os.MkdirAll(filepath.Join(cache, test.folder), 0o755); err != nil {
				t.Fatal(err)
			}
			// What `make demo` runs before anything else.
			cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-C", "../..", "first-build",
				"MTLS_EGRESS_CACHE="+cache)
			if said, _, err := apiserver.Output(cmd); err != nil || said != test.want {
				t.Errorf("it says %q (error %v), want %q", said, err, test.want)
			}
		})
	}
}

func TestTheDemoTellsItsStoryAndLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	if err := run(t.Context(), &out, false); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	story := steady(out.String())
	_, story, _ = strings.Cut(story, "asks with one annotation:\n")
	const want = `
  metadata:
    annotations:
      mtls.egress/target: external.system.com

What its Pod POD got:

  metadata:
    annotations:
      sidecar.istio.io/userVolume: '[{"name":"mtls-egress-external-system-com",` +
		`"secret":{"secretName":"external-system-mtls-data"}}]'
      sidecar.istio.io/userVolumeMount: '[{"name":"mtls-egress-external-system-com",` +
		`"mountPath":"/etc/mtls-egress/external.system.com","readOnly":true}]'
    labels:
      mtls.egress/injected: "true"
      to.mtls.egress/external.system.com: "true"
  spec:
    hostAliases:
    - hostnames:
      - external.system.com
      ip: 254.110.240.171

The Istio objects beside it:

  serviceentry/mtls-egress                           ` +
		`has the sidecars of the namespace listen on the app's port; shared by all targets
  virtualservice/mtls-egress-external.system.com     ` +
		`leads http://external.system.com to the partner's TLS port, and says what is retried
  destinationrule/mtls-egress-external.system.com    ` +
		`the mutual TLS: client certificate, server name, CA and the name that is checked
  serviceentry/mtls-egress-external.system.com       ` +
		`makes the host known, with the partner's real address
  serviceentry/mtls-egress--app.external.system.com  ` +
		`has the sidecars listen at the address that the host has inside the Pod

kubectl get egt -n project (no mesh injects a sidecar here; with make demo-mesh it is ready)

  NAME                  READY   REASON      SECRET                      EXPIRES                PODS   AGE
  external.system.com   False   NoSidecar   external-system-mtls-data   TIME   1      AGE

In a sentence (mtls-egress-webhook render -f examples/egress --explain):

`
	got, sentence, _ := strings.Cut(story, "--explain):\n\n")
	if diff := cmp.Diff(want, got+"--explain):\n\n"); diff != "" {
		t.Errorf("the story (-want +got):\n%s", diff)
	}
	const wantSentence = "Namespace project: http://external.system.com leaves the Pods of Deployment shop as TLS to " +
		"external.system.com:443"
	if joined := strings.Join(strings.Fields(sentence), " "); !strings.HasPrefix(joined, wantSentence) {
		t.Errorf("the sentence %q doesn't start with %q", joined, wantSentence)
	}
	wantNothingLeft(t)
}

// steady is the output with what differs from run to run taken out.
func steady(text string) string {
	for _, change := range [][2]string{
		{`shop-[a-z0-9]+-[a-z0-9]+`, "POD"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "TIME"},
		{`(TIME   1      )[0-9]+s`, "${1}AGE"},
	} {
		text = regexp.MustCompile(change[0]).ReplaceAllString(text, change[1])
	}
	return text
}

func TestWithKeepTheDemoRunsUntilItIsInterrupted(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, interrupt := context.WithCancel(t.Context())
	out := &watched{until: "Ctrl-C ends everything.", reached: interrupt}
	if err := run(ctx, out, true); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	path := regexp.MustCompile(`export KUBECONFIG=(.+)\n`).FindStringSubmatch(out.String())
	if path == nil {
		t.Fatalf("there is no kubeconfig:\n%s", out.String())
	}
	if !out.there(path[1]) {
		t.Errorf("the kubeconfig %s wasn't there while it ran", path[1])
	}
	wantNothingLeft(t)
}

// watched is an output that calls reached when it has a text, and notes the files that are there
// then.
type watched struct {
	until   string
	reached func()

	mutex sync.Mutex
	text  strings.Builder
	files map[string]bool
}

func (w *watched) Write(p []byte) (int, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	n, err := w.text.Write(p)
	if w.files == nil && strings.Contains(w.text.String(), w.until) {
		w.files = map[string]bool{}
		for _, word := range strings.FieldsFunc(
			w.text.String(), func(r rune) bool { return strings.ContainsRune(" \n=", r) },
		) {
			if _, err := os.Stat(word); err == nil {
				w.files[word] = true
			}
		}
		w.reached()
	}
	return n, err
}

func (w *watched) String() string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.text.String()
}

func (w *watched) there(file string) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.files[file]
}

func wantNothingLeft(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Errorf("left behind: %s", entry.Name())
	}
}
