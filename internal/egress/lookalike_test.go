package egress_test

import (
	"testing"

	"mtls.egress/webhook/internal/egress"
)

func TestLookalikes(t *testing.T) {
	for key, want := range map[string]bool{
		"mtls-egress/target": true, "mtls.egress.io/target": true, "egress.mtls/target": true, "mtls.egess/target": true,
		"mtls.egress.io/secrets": true, "mtls-egress.example.com/anything": true,
		"mtls.egress/target": false, "mtls.egress/targets": false, "to.mtls.egress/external.system.com": false,
		"example.com/target": false, "mtls.example.com/target": false, "egress.example.com/target": false, "": false,
	} {
		if got := egress.IsLookalike(key); got != want {
			t.Errorf("%q is a look-alike: %t, want %t", key, got, want)
		}
	}
}
