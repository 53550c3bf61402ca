package fuzzmesh

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"istio.io/istio/pkg/kube/krt"
	istiolog "istio.io/istio/pkg/log"
)

func TestMain(m *testing.M) {
	for _, scope := range istiolog.Scopes() {
		scope.SetOutputLevel(istiolog.NoneLevel)
	}
	// It would keep every world until the end: 24 GB after some 8,000.
	krt.GlobalDebugHandler = nil
	os.Exit(m.Run())
}

// setting returns the number in an environment variable.
func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text, set := os.LookupEnv(name)
	if !set {
		return otherwise
	}
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return number
}

// TestWorlds looks for worlds that break a law. A world is a function of the seed and its number,
// both of which a finding names.
func TestWorlds(t *testing.T) {
	run := &run{
		t:      t,
		seed:   setting(t, "MTLS_EGRESS_FUZZ_SEED", 1),
		next:   setting(t, "MTLS_EGRESS_FUZZ_FIRST", 0),
		worlds: setting(t, "MTLS_EGRESS_FUZZ_WORLDS", 1000),
		until:  time.Now().Add(time.Duration(setting(t, "MTLS_EGRESS_FUZZ_SECONDS", 600)) * time.Second),
		most:   int(setting(t, "MTLS_EGRESS_FUZZ_FINDINGS", 10)),
		laws:   map[string]int{},
		limits: map[string]int{},
		shown:  map[string]bool{},
	}
	began := time.Now()
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(run.work)
	}
	workers.Wait()
	t.Logf("seed %d: %d worlds, %d calls, %d targets closed by conflicts, %.0f seconds",
		run.seed, run.counted.Worlds, run.counted.Calls, run.counted.Closed, time.Since(began).Seconds())
	for _, law := range slices.Sorted(maps.Keys(run.laws)) {
		t.Logf("%d worlds: %s", run.laws[law], law)
	}
	for _, sentence := range slices.Sorted(maps.Keys(run.limits)) {
		t.Logf("%d worlds show a known limit: %s", run.limits[sentence], sentence)
	}
}

// run is a run over many worlds.
type run struct {
	t            *testing.T
	seed, worlds uint64
	until        time.Time
	most         int
	mutex        sync.Mutex
	next         uint64
	counted      count
	laws, limits map[string]int
	shown        map[string]bool
}

// take returns the number of a world that is left, and whether there is one.
func (r *run) take() (number uint64, found bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.worlds == 0 || time.Now().After(r.until) {
		return 0, false
	}
	r.worlds--
	r.next++
	return r.next - 1, true
}

func (r *run) work() {
	for number, found := r.take(); found; number, found = r.take() {
		r.t.Run(strconv.FormatUint(number, 10), func(t *testing.T) { r.world(t, number) })
	}
}

func (r *run) world(t *testing.T, number uint64) {
	world := generate(r.seed, number)
	var counted count
	laws, limited := map[string]Finding{}, map[string]bool{}
	for _, finding := range judge(t, world, &counted) {
		if sentence := finding.limit(world); sentence != "" {
			limited[sentence] = true
			continue
		}
		if _, found := laws[finding.Law]; !found {
			laws[finding.Law] = finding
		}
	}
	for law, finding := range laws {
		if !r.count(law) {
			continue
		}
		smaller, finding := minimize(t, world, finding)
		if r.show(law + shape(smaller)) {
			t.Errorf("seed %d, world %d: %s\n%s", r.seed, number, finding, smaller)
		}
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.counted.add(counted)
	for sentence := range limited {
		r.limits[sentence]++
	}
	if len(laws) > 0 {
		t.Fail()
	}
}

// count counts a world that breaks a law, and reports whether it is one of the first.
func (r *run) count(law string) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.laws[law]++
	return r.laws[law] <= r.most
}

// show reports whether a finding is the first with its text.
func (r *run) show(text string) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	shown := r.shown[text]
	r.shown[text] = true
	return !shown
}

// shape is what worlds with the same cause have in common: mesh and kinds of objects.
func shape(w World) string {
	parts := []string{fmt.Sprint(w.Mesh)}
	for _, object := range w.Ours {
		parts = append(parts, w.form(object)[:8])
	}
	for _, object := range w.Theirs {
		parts = append(parts, kind(object))
	}
	return strings.Join(append(parts, strconv.Itoa(len(w.Services))), " ")
}
