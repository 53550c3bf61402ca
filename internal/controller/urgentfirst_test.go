package controller

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"mtls.egress/webhook/api/v1alpha1"
)

// A model of the order that searches: urgent requests and others in turn, each as they came.
type model struct {
	first, others []reconcile.Request
	urgentTaken   bool
}

func (m *model) add(request reconcile.Request, urgent bool) {
	switch {
	case slices.Contains(m.first, request), !urgent && slices.Contains(m.others, request):
	case urgent:
		m.others = slices.DeleteFunc(m.others, func(other reconcile.Request) bool { return other == request })
		m.first = append(m.first, request)
	default:
		m.others = append(m.others, request)
	}
}

func (m *model) pop() reconcile.Request {
	from := &m.first
	if len(m.first) == 0 || m.urgentTaken && len(m.others) > 0 {
		from = &m.others
	}
	m.urgentTaken = from == &m.first
	request := (*from)[0]
	*from = (*from)[1:]
	return request
}

func TestUrgentRequestsAndOthersTakeTurnsAndNoneIsLostOrDoubled(t *testing.T) {
	const seeds, steps, names = 200, 300, 12
	calm := requestIn("project", "never urgent")
	for seed := range uint64(seeds) {
		random := rand.New(rand.NewPCG(seed, 0))
		urgent := map[reconcile.Request]bool{}
		queue := newUrgentFirst(func(request reconcile.Request) bool { return urgent[request] })
		want := &model{}
		waiting := map[reconcile.Request]bool{} // the workqueue touches what waits, and pushes all else
		for step := range steps {
			request := requestIn("project", strconv.Itoa(random.IntN(names)))
			switch {
			case random.IntN(3) > 0:
				urgent[request] = random.IntN(3) == 0
				if waiting[request] {
					queue.Touch(request)
				} else {
					queue.Push(request)
				}
				waiting[request] = true
				want.add(request, urgent[request])
			case queue.Len() > 0:
				wanted := want.pop()
				if got := queue.Pop(); got != wanted {
					t.Fatalf("seed %d, step %d: got %v, want %v", seed, step, got, wanted)
				}
				delete(waiting, wanted)
			}
			if queue.Len() != len(waiting) {
				t.Fatalf("seed %d, step %d: Len is %d, want %d", seed, step, queue.Len(), len(waiting))
			}
		}
		for queue.Len() > 0 {
			if got, wanted := queue.Pop(), want.pop(); got != wanted {
				t.Fatalf("seed %d, at the end: got %v, want %v", seed, got, wanted)
			}
		}
		// Places of requests that moved ahead are left until a request that isn't urgent is taken.
		queue.Push(calm)
		queue.Pop()
		if diff := cmp.Diff([]int{0, 0, 0}, []int{len(queue.ahead), len(queue.moved), queue.stale}); diff != "" {
			t.Fatalf("seed %d: what is left over (-want +got):\n%s", seed, diff)
		}
	}
}

func TestWhatIsNotProgrammedYetIsUrgent(t *testing.T) {
	settled := v1alpha1.EgressTarget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: "external.system.com", Generation: 3},
		Status:     v1alpha1.EgressTargetStatus{ObservedGeneration: 3},
	}
	changed, created := settled, settled
	changed.Generation = 4
	created.Status = v1alpha1.EgressTargetStatus{}
	tests := map[string]struct {
		egressTarget *v1alpha1.EgressTarget
		want         bool
	}{
		"programmed as it is":               {&settled, false},
		"changed":                           {&changed, true},
		"new":                               {&created, true},
		"asked for by a Pod, and not there": {nil, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := v1alpha1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			cache := fake.NewClientBuilder().WithScheme(scheme)
			if test.egressTarget != nil {
				cache = cache.WithObjects(test.egressTarget)
			}
			got := urgentIn(t.Context(), cache.Build())(requestIn("project", "external.system.com"))
			if got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
