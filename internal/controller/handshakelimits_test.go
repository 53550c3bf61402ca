package controller

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTurns(t *testing.T) {
	type ask struct {
		partner string
		changed bool
		after   time.Duration
	}
	all := func(n int, changed bool) []ask {
		var asks []ask
		for i := range n {
			asks = append(asks, ask{partner: strconv.Itoa(i), changed: changed})
		}
		return asks
	}
	tests := map[string]struct {
		asks []ask
		want []bool
	}{
		"one partner, at once and again": {
			[]ask{{partner: "a"}, {partner: "a", after: 999 * time.Millisecond}, {partner: "a", after: time.Second}},
			[]bool{true, false, true},
		},
		"three partners of two a second": {all(3, false), []bool{true, true, false}},
		"changed credentials have a separate limit": {
			append(all(3, false), ask{partner: "x", changed: true}), []bool{true, true, false, true},
		},
		"which is a limit too": {all(3, true), []bool{true, true, false}},
		"a rejected partner can retry at once": {
			append(all(3, false), ask{partner: "2", after: 500 * time.Millisecond}), []bool{true, true, false, true},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			handshakeLimits := newHandshakeLimits(2)
			var got []bool
			for _, one := range test.asks {
				got = append(got, handshakeLimits.allow(one.partner, one.changed, noon().Add(one.after)))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
