package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/policy"
)

func TestPatternMatches(t *testing.T) {
	tests := map[string]struct {
		pattern, host string
		want          bool
	}{
		"a host matches itself":                      {"api.bank.example", "api.bank.example", true},
		"a host in upper case with a trailing dot":   {"API.Bank.Example.", "api.bank.example", true},
		"a host doesn't match what is below it":      {"bank.example", "api.bank.example", false},
		"* is one label":                             {"*.bank.example", "api.bank.example", true},
		"* needs a label":                            {"*.bank.example", "bank.example", false},
		"* is not two labels":                        {"*.bank.example", "a.b.bank.example", false},
		"* may stand between labels":                 {"api.*.example", "api.bank.example", true},
		"* doesn't match another suffix":             {"*.bank.example", "api.bank.example.evil", false},
		"a name that only ends alike is another one": {"**.bank.example", "evilbank.example", false},
		"** is one label":                            {"**.bank.example", "api.bank.example", true},
		"** is several labels":                       {"**.bank.example", "a.b.c.bank.example", true},
		"** needs a label":                           {"**.bank.example", "bank.example", false},
		"** before *":                                {"**.*.example", "a.b.example", true},
		"** before * needs a label for each":         {"**.*.example", "b.example", false},
		"** doesn't match another suffix":            {"**.bank.example", "a.b.other.example", false},
		"a lone * is every host":                     {"*", "a.b.c.example", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pattern, err := policy.ParsePattern(test.pattern)
			if err != nil {
				t.Fatal(err)
			}
			if got := pattern.Matches(test.host); got != test.want {
				t.Errorf("%s matches %s: %t", pattern, test.host, got)
			}
		})
	}
}

func TestTheZeroPatternMatchesNothing(t *testing.T) {
	if (policy.Pattern{}).Matches("a.example") {
		t.Error("the zero Pattern matches")
	}
}

func TestParsePatternsRefusesAllThatIsWrongAtOnce(t *testing.T) {
	patterns, errs := policy.ParsePatterns([]string{"*.ok.example", "", "api-*.bank.example", "bank.*", "bank.*.", "**",
		"a.**.example", "https://*.bank.example", "bank.example:443", "*:443", "*.1.2.3",
		"bank"}, field.NewPath("policy", "allowedTargets"))
	const rule = "a host has at least two labels of letters, digits and inner hyphens, for example external.system.com"
	const open = "ends in a glob, which matches domains that anyone can register; write the last label, " +
		"or * alone for every host"
	want := []string{
		`policy.allowedTargets[1]: Invalid value: "": an entry is empty; remove it, or write a host or a ` +
			`pattern such as *.bank.example`,
		`policy.allowedTargets[2]: Invalid value: "api-*.bank.example": has the label "api-*"; * must be a whole ` +
			`label, as in *.bank.example`,
		`policy.allowedTargets[3]: Invalid value: "bank.*": ` + open,
		`policy.allowedTargets[4]: Invalid value: "bank.*.": ` + open,
		`policy.allowedTargets[5]: Invalid value: "**": is only **; write * for every host`,
		`policy.allowedTargets[6]: Invalid value: "a.**.example": has ** after another label; ** must come ` +
			`first, as in **.bank.example`,
		`policy.allowedTargets[7]: Invalid value: "https://*.bank.example": has a scheme, "https"; write the host ` +
			`alone, as in "*.bank.example"`,
		`policy.allowedTargets[8]: Invalid value: "bank.example:443": has a port, but a pattern matches hosts on any ` +
			`port; write "bank.example"`,
		`policy.allowedTargets[9]: Invalid value: "*:443": has a port, but a pattern matches ` +
			`hosts on any port; write "*"`,
		`policy.allowedTargets[10]: Invalid value: "*.1.2.3": ends in a number, as only an IP address does; ` + rule,
		`policy.allowedTargets[11]: Invalid value: "bank": has only one label; ` + rule,
	}
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if len(patterns) != 1 || patterns[0].String() != "*.ok.example" {
		t.Errorf("patterns %v", patterns)
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"*", "a.example"}, {"**.bank.example", "a.b.bank.example"}, {"API.*.Example.", "api.bank.example"}, {"**",
			"x"}, {"*.", "a.b"}, {"[::1]:443", "a.b"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, host string) {
		pattern, err := policy.ParsePattern(text)
		if err != nil {
			if len(err.Error()) > 600 {
				t.Errorf("the message has %d bytes, so it repeats the whole pattern", len(err.Error()))
			}
			return
		}
		again, err := policy.ParsePattern(pattern.String())
		if err != nil || again.String() != pattern.String() {
			t.Fatalf("parsing %q again gives %q, %v", pattern, again, err)
		}
		if normal, err := egress.NormalizeHost(text); err == nil && !pattern.Matches(normal) {
			t.Errorf("the host %q doesn't match itself", text)
		}
		if normal, err := egress.NormalizeHost(host); err == nil && pattern.Matches(normal) != again.Matches(normal) {
			t.Errorf("%q and its normal form differ over %q", text, host)
		}
	})
}
