package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/procfs"
)

// TestProgramPagesAreReleased goes on in the program whose pages it gave up, so they come back.
func TestProgramPagesAreReleased(t *testing.T) {
	before := mappedFiles(t)
	if err := releaseProgramPages(); err != nil {
		t.Fatal(err)
	}
	if after := mappedFiles(t); after > before/2 {
		t.Errorf("%d KiB of files are mapped, %d KiB before", after>>10, before>>10)
	}
}

func mappedFiles(t *testing.T) uint64 {
	t.Helper()
	process, err := procfs.Self()
	if err != nil {
		t.Fatal(err)
	}
	status, err := process.NewStatus()
	if err != nil {
		t.Fatal(err)
	}
	return status.RssFile
}

func TestOnlyWhatTheFileHasIsReleased(t *testing.T) {
	const smaps = `00400000-018fb000 r-xp 00000000 fe:00 1234                               /mtls egress
Size:              21484 kB
Rss:               17836 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me sd
018fb000-018fd000 r--p 014fb000 fe:00 1234                               /mtls egress
Rss:                   8 kB
Anonymous:             8 kB
Swap:                  0 kB
018fd000-03006000 r--p 014fd000 fe:00 1234                               /mtls egress
Anonymous:             0 kB
Swap:                  0 kB
03006000-0312b000 rw-p 02c06000 fe:00 1234                               /mtls egress
Anonymous:             0 kB
Swap:                  0 kB
18a6ae400000-18a6b1400000 rw-p 00000000 00:00 0
Anonymous:         36168 kB
Swap:                  0 kB
03400000-03401000 r--p 014fb000 fe:00 1234                               /mtls egress
Anonymous:             0 kB
Swap:                  4 kB
03401000-03402000 r--p 014fb000 fe:00 1234                               /mtls egress
Rss:                   0 kB
7fcaea24d000-7fcaea40f000 r-xp 00000000 fe:00 99                         /lib/libc.so.6
Anonymous:             0 kB
Swap:                  0 kB
7ffd0f9e5000-7ffd0f9e7000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
Swap:                  0 kB
`
	got, err := unchangedMappings(strings.NewReader(smaps), "/mtls egress")
	if err != nil {
		t.Fatal(err)
	}
	want := []mapping{{0x400000, 0x18fb000}, {0x18fd000, 0x3006000}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mapping{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMappingsThatCantBeReadReleaseNothing(t *testing.T) {
	got, err := unchangedMappings(strings.NewReader("here-there r-xp 00000000 fe:00 1234 /app\nAnonymous: 0 kB\nSwap: 0 kB\n"), "/app")
	if err == nil || got != nil {
		t.Errorf("%v, %v, want an error", got, err)
	}
}

// BenchmarkProgramPages renders a workload right after the pages were given up, and without that: the difference is what it takes to map again those that admission and the Istio objects need.
func BenchmarkProgramPages(b *testing.B) {
	const workload = `{apiVersion: v1, kind: Pod, metadata: {name: app, namespace: shop, annotations: {mtls.egress/target: external.system.com}}, spec: {containers: [{name: app, image: app}]}}`
	for name, release := range map[string]func() error{"kept": func() error { return nil }, "released": releaseProgramPages} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				if err := release(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if _, stderr, code := executeRender(workload, "--filename=-"); code != ExitDone {
					b.Fatal(stderr)
				}
			}
		})
	}
	b.Run("release", func(b *testing.B) {
		for b.Loop() {
			if err := releaseProgramPages(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
