package golden_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"mtls.egress/webhook/test/golden"
)

// recorder takes failures instead of failing.
type recorder struct {
	testing.TB
	failures int
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failures++ }
func (r *recorder) Fatalf(string, ...any) {
	r.failures++
	runtime.Goexit()
}

// failures counts how often check fails.
func failures(t *testing.T, check func(testing.TB)) int {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		check(r)
	}()
	<-done
	return r.failures
}

func TestGoldenFilesFail(t *testing.T) {
	t.Setenv("UPDATE_GOLDEN", "")
	dir := t.TempDir()
	for name, content := range map[string]string{"one.yaml": "a: 1", "one.golden.yaml": "same", "gone.golden.yaml": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	compare := func(name, got string) func(testing.TB) {
		return func(tb testing.TB) { golden.Compare(tb, golden.File(filepath.Join(dir, name)), []byte(got)) }
	}
	tests := map[string]struct {
		check func(testing.TB)
		want  int
	}{
		"what is the same passes":        {compare("one.yaml", "same"), 0},
		"what differs fails":             {compare("one.yaml", "other"), 1},
		"a missing golden file fails":    {compare("two.yaml", "same"), 1},
		"a golden file of nothing fails": {func(tb testing.TB) { golden.Inputs(tb, dir) }, 1},
		"a folder without inputs fails":  {func(tb testing.TB) { golden.Inputs(tb, t.TempDir()) }, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := failures(t, test.check); got != test.want {
				t.Errorf("%d failures, want %d", got, test.want)
			}
		})
	}
}
