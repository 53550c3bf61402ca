package partner

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at(second int) time.Time { return time.Unix(int64(second), 0).UTC() }

// ids are the connections that are still known.
func (b *book) ids(filter Filter) []int64 {
	ids := []int64{}
	for _, c := range b.connections(filter).Connections {
		ids = append(ids, c.ID)
	}
	return ids
}

func TestTheConnectionsThatEndedFirstMakeRoom(t *testing.T) {
	b := newBook(limits{connections: 3, requests: 100})
	var entries []*entry
	for range 4 {
		entries = append(entries, b.open(80, false, "127.0.0.1", at(0)))
	}
	if diff := cmp.Diff([]int64{1, 2, 3, 4}, b.ids(Filter{})); diff != "" {
		t.Error("open connections were dropped (-want +got):\n" + diff)
	}
	b.end(entries[2], at(1))
	b.end(entries[0], at(2))
	b.end(entries[0], at(3)) // twice
	b.open(80, false, "127.0.0.1", at(4))
	if diff := cmp.Diff([]int64{2, 4, 5}, b.ids(Filter{})); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
	if got := b.summary(Filter{}).Dropped; got != 2 {
		t.Errorf("%d are said to be dropped", got)
	}
}

func TestTheRequestsOfTheOldestConnectionsMakeRoom(t *testing.T) {
	b := newBook(limits{connections: 100, requests: 25})
	for range 3 {
		e := b.open(80, false, "127.0.0.1", at(0))
		for i := range 30 {
			index := b.request(e, Request{Method: "POST", Path: "/a/b/c", At: at(i)})
			b.body(e, index, 1, "hash")
		}
	}
	type kept struct{ Requests, Kept, WithBody int }
	var got []kept
	for _, c := range b.connections(Filter{}).Connections {
		k := kept{Requests: c.Requests, Kept: len(c.FirstRequests)}
		for _, r := range c.FirstRequests {
			k.WithBody += int(r.BodyLength)
		}
		got = append(got, k)
	}
	if diff := cmp.Diff([]kept{{30, 0, 0}, {30, 0, 0}, {30, 20, 20}}, got); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
	summary := b.summary(Filter{Path: "/a/b"})
	if diff := cmp.Diff([2]int{90, 90}, [2]int{summary.Requests, summary.Posts}); diff != "" {
		t.Error("counts (-want +got):\n" + diff)
	}
}

func TestAPathIsFoundOrSaidToBeUndecided(t *testing.T) {
	numbered := func(format string, count int) []string {
		var paths []string
		for i := range count {
			paths = append(paths, fmt.Sprintf(format, i))
		}
		return paths
	}
	type answer struct{ Connections, Requests, Undecided int }
	tests := map[string]struct {
		paths  []string
		filter string
		want   answer
	}{
		"the first segment": {numbered("/a/%d", 3), "/a", answer{1, 3, 0}},
		"a beginning that ends inside of a segment": {
			[]string{"/case1/x", "/case12/x", "/case2/x"},
			"/case1",
			answer{1, 2, 0},
		},
		"two segments beyond the kept requests": {
			append(numbered("/x?%d", 30), "/a/b/c", "/a/b"), "/a/b", answer{1, 2, 0},
		},
		"two segments and a slash":                        {[]string{"/a/b/c", "/a/b", "/a/bc"}, "/a/b/", answer{1, 1, 0}},
		"a deeper path among the kept requests":           {[]string{"/a/b/c", "/a/b/d"}, "/a/b/c", answer{1, 1, 0}},
		"a deeper path with more requests than are kept":  {numbered("/a/b/%d", 21), "/a/b/20", answer{0, 0, 1}},
		"a deeper path that is elsewhere":                 {numbered("/a/b/%d", 21), "/a/c/20", answer{}},
		"a query among the kept requests":                 {[]string{"/a/b?c=1", "/a/b?c=2"}, "/a/b?c=1", answer{1, 1, 0}},
		"a query with more requests than are kept":        {numbered("/a/b?c=%d", 21), "/a/b?c=1", answer{0, 0, 1}},
		"a path that goes on where another one ended":     {numbered("/a", 21), "/ab", answer{}},
		"more second segments than are told apart":        {numbered("/a/%d", 100), "/a/", answer{1, 100, 0}},
		"one of more second segments than are told apart": {numbered("/a/%d", 100), "/a/99", answer{0, 0, 1}},
		"more first segments than are told apart":         {numbered("/%d", 200), "/", answer{0, 0, 1}},
		"everything": {numbered("/%d", 200), "", answer{1, 200, 0}},
		"not a path": {[]string{"*"}, "*", answer{1, 1, 0}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBook(limits{connections: 10, requests: 1000})
			e := b.open(443, true, "127.0.0.1", at(0))
			for _, path := range test.paths {
				b.request(e, Request{Method: "GET", Path: path})
			}
			s := b.summary(Filter{Path: test.filter})
			if diff := cmp.Diff(test.want, answer{s.Connections, s.Requests, s.Undecided}); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}

// Whatever a connection carries: an answer that is not said to be undecided counts what was sent.
func TestNoCountIsWrong(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		path := func() string {
			var p strings.Builder
			for range 1 + random.IntN(4) {
				fmt.Fprintf(&p, "/%d", random.IntN(1+random.IntN(40)))
			}
			if random.IntN(5) == 0 {
				p.WriteString("?1")
			}
			return p.String()
		}
		b := newBook(limits{connections: 10, requests: 60})
		var sent [][]string
		for range 1 + random.IntN(5) {
			e := b.open(443, true, "127.0.0.1", at(0))
			var paths []string
			for range random.IntN(150) {
				paths = append(paths, path())
				b.request(e, Request{Method: "GET", Path: paths[len(paths)-1]})
			}
			sent = append(sent, paths)
		}
		for range 20 {
			filter := path()
			summary := b.summary(Filter{Path: filter})
			connections, requests := 0, 0
			for _, paths := range sent {
				count := 0
				for _, p := range paths {
					if strings.HasPrefix(p, filter) {
						count++
					}
				}
				requests += count
				connections += min(count, 1)
			}
			if summary.Undecided == 0 && (summary.Requests != requests || summary.Connections != connections) {
				t.Fatalf("seed %d, %s: counted %d on %d connections, sent %d on %d",
					seed, filter, summary.Requests, summary.Connections, requests, connections)
			}
			if summary.Requests > requests || summary.Connections > connections {
				t.Fatalf("seed %d, %s: counted %d on %d connections, but only %d on %d were sent",
					seed, filter, summary.Requests, summary.Connections, requests, connections)
			}
		}
	}
}

func TestPlainBytesAreFoundByAPathInThem(t *testing.T) {
	b := newBook(limits{connections: 10, requests: 10})
	b.receive(b.open(443, true, "127.0.0.1", at(0)), []byte("GET /a"))
	b.receive(b.open(443, true, "127.0.0.1", at(0)), []byte("\x16 GET /a"))
	if diff := cmp.Diff([]int64{1}, b.ids(Filter{Path: "/a"})); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
}

func TestAClientIsSeenFromItsFirstToItsLastRequest(t *testing.T) {
	b := newBook(limits{connections: 10, requests: 10})
	certificate := &ClientCertificate{Subject: "CN=a", SerialNumber: "1"}
	for _, times := range [][]int{{5, 9}, {3, 4}, {}} {
		e := b.open(443, true, "127.0.0.1", at(7))
		e.connection.Client = certificate
		for _, second := range times {
			b.request(e, Request{Method: "GET", Path: "/", At: at(second)})
		}
	}
	want := map[string]ClientSummary{"1": {Connections: 3, Requests: 4, FirstSeen: at(3), LastSeen: at(9)}}
	if diff := cmp.Diff(want, b.summary(Filter{}).ByClientSerial); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
}

func TestTheClientTakesNoIncompleteAnswer(t *testing.T) {
	tests := map[string]struct{ answer, want string }{
		"dropped": {
			`{"dropped":7}`,
			"the partner has forgotten 7 connections to make room: no count is complete any more, start it anew",
		},
		"undecided": {
			`{"undecided":2}`,
			`the partner can't say of 2 connections whether they carried "/a/b/c": ask for a path of at most two segments, ` +
				"and call no more than 64 of them on a connection",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := Client{Get: func(context.Context, string) ([]byte, error) { return []byte(test.answer), nil }}
			_, err := client.Summary(t.Context(), Filter{Path: "/a/b/c"})
			if diff := cmp.Diff(test.want, fmt.Sprint(err)); diff != "" {
				t.Error("summary (-want +got):\n" + diff)
			}
			_, err = client.Connections(t.Context(), Filter{Path: "/a/b/c"})
			if diff := cmp.Diff(test.want, fmt.Sprint(err)); diff != "" {
				t.Error("connections (-want +got):\n" + diff)
			}
		})
	}
}

func TestManyConnectionsAreAllCountedAndInOrder(t *testing.T) {
	b := newBook(limits{connections: 1000, requests: 10})
	var want []int64
	for i := range 600 {
		b.request(b.open(443, true, "127.0.0.1", at(0)), Request{Method: "GET", Path: "/"})
		want = append(want, int64(i+1))
	}
	if diff := cmp.Diff(want, b.ids(Filter{})); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
	counts := [2]int{b.summary(Filter{}).Connections, b.summary(Filter{Path: "/"}).Requests}
	if diff := cmp.Diff([2]int{600, 600}, counts); diff != "" {
		t.Error("summary (-want +got):\n" + diff)
	}
}
