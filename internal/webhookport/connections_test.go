package webhookport

import (
	"context"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeConn records that it was closed.
type fakeConn struct {
	net.Conn
	name   string
	closed *[]string
}

func (c *fakeConn) Close() error {
	*c.closed = append(*c.closed, c.name)
	return nil
}

func TestTheLeastUsefulConnectionIsClosed(t *testing.T) {
	const limit = 3
	// A step is an event of the connection SOURCE-NUMBER: it opens, starts a request or completes
	// one.
	type step struct{ what, name string }
	for name, test := range map[string]struct {
		steps []step
		want  []string
	}{
		"up to the limit none": {
			steps: []step{{"open", "a-1"}, {"open", "a-2"}, {"open", "b-1"}},
		},
		"one more costs the source with most its oldest": {
			steps: []step{{"open", "b-1"}, {"open", "a-1"}, {"open", "a-2"}, {"open", "a-3"}},
			want:  []string{"a-1"},
		},
		"one that never carried a request goes before one that did": {
			steps: []step{{"open", "a-1"}, {"use", "a-1"}, {"open", "a-2"}, {"open", "b-1"}, {"open", "a-3"}},
			want:  []string{"a-2"},
		},
		"one that was of use longest ago goes first": {
			steps: []step{{"open", "a-1"}, {"open", "a-2"}, {"open", "a-3"}, {"use", "a-2"}, {"use", "a-1"},
				{"use", "a-3"}, {"open", "b-1"}},
			want: []string{"a-2"},
		},
		"one whose request is worked on stays": {
			steps: []step{{"open", "a-1"}, {"work", "a-1"}, {"open", "a-2"}, {"work", "a-2"}, {"open", "b-1"},
				{"open", "b-2"}},
			want: []string{"b-1"},
		},
		"one source can't push out another": {
			steps: []step{{"open", "api-1"}, {"open", "a-1"}, {"open", "a-2"}, {"open", "a-3"}, {"open", "a-4"},
				{"open", "a-5"}},
			want: []string{"a-1", "a-2", "a-3"},
		},
		"when all are worked on the newest goes": {
			steps: []step{{"open", "a-1"}, {"work", "a-1"}, {"open", "a-2"}, {"work", "a-2"}, {"open", "a-3"},
				{"work", "a-3"}, {"open", "a-4"}},
			want: []string{"a-4"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := newConnections(limit)
			var closed []string
			open := map[string]*connection{}
			for _, step := range test.steps {
				switch step.what {
				case "open":
					open[step.name] = all.add(&fakeConn{name: step.name, closed: &closed}, step.name[:len(step.name)-2])
				case "work":
					work(context.WithValue(t.Context(), connectionKey{}, open[step.name]))
				case "use":
					work(context.WithValue(t.Context(), connectionKey{}, open[step.name]))()
				}
			}
			if diff := cmp.Diff(test.want, closed); diff != "" {
				t.Errorf("closed (-want +got):\n%s", diff)
			}
			for _, connection := range open {
				_ = connection.Close()
				_ = connection.Close() // as net/http does
			}
			if all.count != 0 || len(all.bySource) != 0 {
				t.Errorf("%d connections of %d sources are counted though all are closed", all.count, len(all.bySource))
			}
		})
	}
}
