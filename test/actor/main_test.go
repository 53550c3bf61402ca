package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRunNamesWhatIsWrong(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"no part": {nil, "which part? The first argument must be partner, caller or relay"},
		"a part nobody knows": {
			[]string{"client"},
			`there is no part "client"; the first argument must be partner, caller or relay`,
		},
		"an argument": {
			[]string{"caller", "http://external.system.com"},
			`actor caller takes flags only, not ["http://external.system.com"]`,
		},
		"a partner's own error": {
			[]string{"partner", "--client-auth", "maybe"},
			`client authentication "maybe": it must be require, request or none`,
		},
		"a relay without a destination": {
			[]string{"relay", "--way", ":9443"},
			`way ":9443": write ADDRESS=HOST:PORT, as in :9443=external.system.com:443`,
		},
		"a caller's own error": {
			[]string{"caller", "--loop", "x"},
			`url "x": it must begin with http:// or https:// and a host`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), test.args, t.Output(), t.Output())
			if diff := cmp.Diff(test.want, fmt.Sprint(err)); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}

func TestHelpIsNoError(t *testing.T) {
	var usage bytes.Buffer
	if err := run(t.Context(), []string{"partner", "--help"}, t.Output(), &usage); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("it ended with %v", err)
	}
	if !bytes.Contains(usage.Bytes(), []byte("-certificates folder")) {
		t.Errorf("the usage is %s", usage.String())
	}
}

func TestPartsEndWithTheirContext(t *testing.T) {
	for _, args := range [][]string{
		{"partner", "--plain", "127.0.0.1:0,127.0.0.1:0", "--control", "127.0.0.1:0"},
		{"caller", "--control", "127.0.0.1:0"},
		{"relay", "--way", "127.0.0.1:0=127.0.0.1:9"},
	} {
		t.Run(args[0], func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := run(ctx, args, t.Output(), t.Output()); err != nil {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}
