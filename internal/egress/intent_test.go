package egress_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

func TestParseIntentReadsWhatIsAskedFor(t *testing.T) {
	const host = "external.system.com"
	tests := map[string]struct {
		annotations map[string]string
		want        []egress.Entry
	}{
		"no annotations request nothing":              {nil, nil},
		"annotations with another prefix are ignored": {map[string]string{"a/target": "x"}, nil},
		"a host alone leaves port and Secret open":    {targets(host), []egress.Entry{{Host: host}}},
		"upper case and a trailing dot are normalized": {
			targets("External.System.COM."),
			[]egress.Entry{{Host: host}},
		},
		"blanks around entries don't count": {
			targets(" a.example , b.example "),
			[]egress.Entry{{Host: "a.example"}, {Host: "b.example"}},
		},
		"a port is the partner's TLS port": {
			targets(host + ":8443"),
			[]egress.Entry{{Host: host, Port: 8443}},
		},
		"a port may have leading zeros": {
			targets(host + ":0443"),
			[]egress.Entry{{Host: host, Port: 443}},
		},
		"a trailing dot may stand before a port": {
			targets(host + ".:443"),
			[]egress.Entry{{Host: host, Port: 443}},
		},
		"the order of the annotation is kept": {
			targets("b.example,a.example"),
			[]egress.Entry{{Host: "b.example"}, {Host: "a.example"}},
		},
		"duplicates collapse": {
			targets(host + "," + strings.ToUpper(host)),
			[]egress.Entry{{Host: host}},
		},
		"duplicates with the same port collapse": {
			targets(host + ":443," + host + ":443"),
			[]egress.Entry{{Host: host, Port: 443}},
		},
		"a label may start with a digit": {
			targets("3m.example"),
			[]egress.Entry{{Host: "3m.example"}},
		},
		"a punycode label is an ordinary one": {
			targets("xn--bcher-kva.example"),
			[]egress.Entry{{Host: "xn--bcher-kva.example"}},
		},
		"the longest label and the longest host are fine": {
			targets(longHost(253)),
			[]egress.Entry{{Host: longHost(253)}},
		},
		"sixteen targets are fine": {targets(manyHosts(16)), entries(16)},
		"one Secret serves all targets": {
			both("a.example,b.example", "shared"),
			[]egress.Entry{{Host: "a.example", SecretName: "shared"}, {Host: "b.example", SecretName: "shared"}},
		},
		"each target may have its own Secret": {
			both("a.example,b.example", "b.example=two, A.example = one"),
			[]egress.Entry{{Host: "a.example", SecretName: "one"}, {Host: "b.example", SecretName: "two"}},
		},
		"a target that no Secret names keeps the default": {
			both("a.example,b.example", "b.example=two"),
			[]egress.Entry{{Host: "a.example"}, {Host: "b.example", SecretName: "two"}},
		},
		"naming the same Secret twice for a host is fine": {
			both("a.example", "a.example=one,a.example=one"),
			[]egress.Entry{{Host: "a.example", SecretName: "one"}},
		},
		"a Secret's name may have dots": {
			both("a.example", "one.two"),
			[]egress.Entry{{Host: "a.example", SecretName: "one.two"}},
		},
		"the propagated annotation is a known annotation": {
			map[string]string{egress.AnnotationTarget: "a.example", egress.AnnotationPropagated: "{}"},
			[]egress.Entry{{Host: "a.example"}},
		},
		"an annotation that accepts a finding is a known annotation": {
			map[string]string{egress.AnnotationTarget: "a.example", "mtls.egress/accept-MTE201": "until the migration"},
			[]egress.Entry{{Host: "a.example"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			intent, warnings, errs := egress.ParseIntent(test.annotations, field.NewPath("metadata", "annotations"))
			if len(errs) > 0 || len(warnings) > 0 {
				t.Fatalf("errors %v, warnings %v", errs, warnings)
			}
			if diff := cmp.Diff(test.want, intent.Entries); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseIntentRefuses(t *testing.T) {
	const (
		targetField = "metadata.annotations[mtls.egress/target]"
		secretField = "metadata.annotations[mtls.egress/secret]"
		rule        = "a host has at least two labels of letters, digits and inner hyphens, for example external.system.com"
		secretRule  = "is not a valid Secret name: use lowercase letters, digits, - and ., at most 253 characters, " +
			"for example external-system-mtls-data"
	)
	tests := map[string]struct {
		annotations map[string]string
		want        []string
	}{
		"an empty value": {
			targets(""),
			[]string{
				targetField + ": Required value: is empty; write a host such as external.system.com, or remove the annotation",
			},
		},
		"blanks only": {
			targets(" \t"),
			[]string{
				targetField + ": Required value: is empty; write a host such as external.system.com, or remove the annotation",
			},
		},
		"an extra comma": {
			targets("a.example,"),
			[]string{targetField + `: Invalid value: "": an entry is empty; remove the extra comma`},
		},
		"a scheme": {
			targets("https://a.example"),
			[]string{
				targetField + `: Invalid value: "https://a.example": has a scheme, "https"; ` +
					`write the host alone, as in "a.example"`,
			},
		},
		"a scheme, a port and a path": {
			targets("http://a.example:80/x"),
			[]string{
				targetField + `: Invalid value: "http://a.example:80/x": has a scheme, "http"; write the host alone, ` +
					`as in "a.example:80"`,
			},
		},
		"a path": {
			targets("a.example/x"),
			[]string{
				targetField + `: Invalid value: "a.example/x": has a path; write the host alone, as in "a.example"`,
			},
		},
		"a relative path": {
			targets("../a.example"),
			[]string{
				targetField + `: Invalid value: "../a.example": has a path; write the host alone: a host has at least two ` +
					`labels of letters, digits and inner hyphens, for example external.system.com`,
			},
		},
		"a path behind a port": {
			targets("a.example:443/x"),
			[]string{targetField + `: Invalid value: "a.example:443/x": has a path; write host:port alone`},
		},
		"a wildcard": {
			targets("*.example"),
			[]string{
				targetField + `: Invalid value: "*.example": is a wildcard; a target is one host, so list each host: ` +
					rule,
			},
		},
		"an IPv4 address": {
			targets("10.1.2.3"),
			[]string{
				targetField + `: Invalid value: "10.1.2.3": is the IP address 10.1.2.3; a ` +
					`certificate is checked against a name: ` + rule,
			},
		},
		"an IPv4 address with a port": {
			targets("10.1.2.3:443"),
			[]string{
				targetField + `: Invalid value: "10.1.2.3:443": is the IP address 10.1.2.3; a ` +
					`certificate is checked against a name: ` + rule,
			},
		},
		"an IPv6 address": {
			targets("2001:db8::1"),
			[]string{
				targetField + `: Invalid value: "2001:db8::1": is the IP address 2001:db8::1; a certificate is ` +
					`checked against a name: ` + rule,
			},
		},
		"an IPv6 address in brackets": {
			targets("[2001:db8::1]"),
			[]string{
				targetField + `: Invalid value: "[2001:db8::1]": is the IP address 2001:db8::1; a certificate is ` +
					`checked against a name: ` + rule,
			},
		},
		"an IPv4 address as inet_aton reads it": {
			targets("1.0x7f"),
			[]string{targetField + `: Invalid value: "1.0x7f": ends in a number, as only an IP address does; ` + rule},
		},
		"the anchor's host": {
			targets("anchor.mtls-egress.internal"),
			[]string{
				targetField + `: Invalid value: "anchor.mtls-egress.internal": is below mtls-egress.internal, which ` +
					`is reserved for generated objects; write the partner's own host`,
			},
		},
		"a host of a generated object": {
			targets("a.com.MTLS-egress.internal."),
			[]string{
				targetField + `: Invalid value: "a.com.MTLS-egress.internal.": is below mtls-egress.internal, which ` +
					`is reserved for generated objects; write the partner's own host`,
			},
		},
		"an IPv6 address in brackets with a port": {
			targets("[2001:db8::7]:443"),
			[]string{
				targetField + `: Invalid value: "[2001:db8::7]:443": is the IP address 2001:db8::7; a certificate is ` +
					`checked against a name: ` + rule,
			},
		},
		"something like an IPv4 address": {
			targets("300.1.2.3"),
			[]string{
				targetField + `: Invalid value: "300.1.2.3": ends in a number, as only an IP address does; ` +
					rule,
			},
		},
		"a single label": {
			targets("localhost"),
			[]string{targetField + `: Invalid value: "localhost": has only one label; ` + rule},
		},
		"a single label with a trailing dot": {
			targets("localhost."),
			[]string{targetField + `: Invalid value: "localhost.": has only one label; ` + rule},
		},
		"a dot alone": {
			targets("."),
			[]string{
				targetField + `: Invalid value: ".": has an empty label (two dots in a row, or a leading dot); ` +
					rule,
			},
		},
		"a leading dot": {
			targets(".a.example"),
			[]string{
				targetField + `: Invalid value: ".a.example": has an empty label (two dots in a row, or a leading dot); ` +
					rule,
			},
		},
		"two dots in a row": {
			targets("a..example"),
			[]string{
				targetField + `: Invalid value: "a..example": has an empty label (two dots in a row, or a leading dot); ` +
					rule,
			},
		},
		"a leading hyphen": {
			targets("-a.example"),
			[]string{
				targetField + `: Invalid value: "-a.example": has the label "-a", which starts or ends with a hyphen; ` +
					rule,
			},
		},
		"a trailing hyphen": {
			targets("a-.example"),
			[]string{
				targetField + `: Invalid value: "a-.example": has the label "a-", which starts or ends with a hyphen; ` +
					rule,
			},
		},
		"an underscore": {
			targets("a_b.example"),
			[]string{
				targetField + `: Invalid value: "a_b.example": has the character '_', which is not allowed in a host name; ` +
					rule,
			},
		},
		"a blank inside": {
			targets("a b.example"),
			[]string{
				targetField + `: Invalid value: "a b.example": has the character ' ', which is not allowed in a host name; ` +
					rule,
			},
		},
		"a newline inside": {
			targets("a\nb.example"),
			[]string{
				targetField + `: Invalid value: "a\nb.example": has the character '\n', which is not allowed in a host name; ` +
					rule,
			},
		},
		"a NUL byte": {
			targets("a\x00.example"),
			[]string{
				targetField + `: Invalid value: "a\x00.example": has the character '\x00', ` +
					`which is not allowed in a host name; ` + rule,
			},
		},
		"an escape sequence": {
			targets("a\x1b[31m.example"),
			[]string{
				targetField + `: Invalid value: "a\x1b[31m.example": has the character '\x1b', ` +
					`which is not allowed in a host name; ` + rule,
			},
		},
		"template syntax": {
			targets("{{.Host}}.example"),
			[]string{
				targetField + `: Invalid value: "{{.Host}}.example": has the character '{', ` +
					`which is not allowed in a host name; ` + rule,
			},
		},
		"shell syntax": {
			targets("$(id).example"),
			[]string{
				targetField + `: Invalid value: "$(id).example": has the character '$', which is not allowed in a host name; ` +
					rule,
			},
		},
		"YAML syntax": {
			targets("a.example\"]}"),
			[]string{
				targetField + `: Invalid value: "a.example\"]}": has the character '"', which is not allowed in a host name; ` +
					rule,
			},
		},
		"a user before the host": {
			targets("me@a.example"),
			[]string{
				targetField + `: Invalid value: "me@a.example": has the character '@', which is not allowed in a host name; ` +
					rule,
			},
		},
		"a backslash": {
			targets(`a\.example`),
			[]string{
				targetField + `: Invalid value: "a\\.example": has the character '\\', which is not allowed in a host name; ` +
					rule,
			},
		},
		"a semicolon between hosts": {
			targets("a.example;b.example"),
			[]string{
				targetField + `: Invalid value: "a.example;b.example": has the character ';', ` +
					`which is not allowed in a host name; ` + rule,
			},
		},
		"letters beyond ASCII": {
			targets("bücher.example"),
			[]string{
				targetField + `: Invalid value: "bücher.example": has non-ASCII characters; write its punycode form ` +
					`"xn--bcher-kva.example"`,
			},
		},
		"bytes that are not UTF-8": {
			targets("a\xff.example"),
			[]string{
				targetField + `: Invalid value: "a` + "�" + `.example": has characters that are not allowed in a host name; ` +
					rule,
			},
		},
		"a label of 64 characters": {
			targets(strings.Repeat("a", 64) + ".example"),
			[]string{
				targetField + `: Invalid value: "` + strings.Repeat("a",
					60) + `… (72 bytes)": has a label of 64 characters; a label has at most 63 (RFC 1035)`,
			},
		},
		"a host of 300 characters": {
			targets(longHost(300)),
			[]string{
				targetField + `: Invalid value: "` + longHost(300)[:60] + `… (300 bytes)": is 300 characters long; a ` +
					`host has at most 253 (RFC 1035)`,
			},
		},
		"a colon without a port": {
			targets("a.example:"),
			[]string{
				targetField + `: Invalid value: "a.example:": has a colon but no port; write host:443 or the host alone`,
			},
		},
		"a port that is not a number": {
			targets("a.example:https"),
			[]string{
				targetField + `: Invalid value: "a.example:https": has the port "https", which is not a number; ` +
					`write the partner's TLS port, 1 to 65535, or leave it out for 443`,
			},
		},
		"a signed port": {
			targets("a.example:+443"),
			[]string{
				targetField + `: Invalid value: "a.example:+443": has the port "+443", which is not a number; write ` +
					`the partner's TLS port, 1 to 65535, or leave it out for 443`,
			},
		},
		"port 0": {
			targets("a.example:0"),
			[]string{
				targetField + `: Invalid value: "a.example:0": has the port "0", which is out of range; write the ` +
					`partner's TLS port, 1 to 65535`,
			},
		},
		"port 65536": {
			targets("a.example:65536"),
			[]string{
				targetField + `: Invalid value: "a.example:65536": has the port "65536", which is out of range; ` +
					`write the partner's TLS port, 1 to 65535`,
			},
		},
		"a port that overflows": {
			targets("a.example:99999999999999999999"),
			[]string{
				targetField + `: Invalid value: "a.example:99999999999999999999": has the port ` +
					`"99999999999999999999", which is out of range; write the partner's TLS port, 1 to 65535`,
			},
		},
		"two ports for one host": {
			targets("a.example:443,a.example:8443"),
			[]string{
				targetField + `: Invalid value: "a.example:8443": the host is listed with two ` +
					`ports, 443 and 8443; a target has one port`,
			},
		},
		"a host with and without a port": {
			targets("a.example,a.example:8443"),
			[]string{
				targetField + `: Invalid value: "a.example:8443": the host is listed with two ports, none (443 by ` +
					`default) and 8443; a target has one port`,
			},
		},
		"seventeen targets": {
			targets(manyHosts(17)),
			[]string{targetField + ": Too many: 17: must have at most 16 items"},
		},
		"a value of a megabyte": {
			targets(strings.Repeat("a", 1<<20)),
			[]string{targetField + ": Too long: may not be more than 8192 bytes"},
		},
		"all mistakes are reported at once": {
			targets("*.a.example,localhost,b.example:0"),
			[]string{
				targetField + `: Invalid value: "*.a.example": is a wildcard; a target is one host, so list each host: ` + rule,
				targetField + `: Invalid value: "localhost": has only one label; ` +
					rule,
				targetField + `: Invalid value: "b.example:0": has the port "0", which is out of range; write the ` +
					`partner's TLS port, 1 to 65535`,
			},
		},
		"mistakes in both annotations are reported at once": {both("localhost", "Big"), []string{
			targetField + `: Invalid value: "localhost": has only one label; ` +
				rule,
			secretField + `: Invalid value: "Big": ` + secretRule,
		}},
		"a Secret without a target": {
			map[string]string{egress.AnnotationSecret: "one"},
			[]string{
				targetField + ": Required value: mtls.egress/secret names a Secret, but there is no target " +
					"annotation; add mtls.egress/target: <host> or remove mtls.egress/secret",
			},
		},
		"an empty Secret": {
			both("a.example", " "),
			[]string{
				secretField + ": Required value: is empty; write the name of a Secret, or remove the annotation to " +
					"use the default name",
			},
		},
		"a Secret in upper case": {
			both("a.example", "Big"),
			[]string{secretField + `: Invalid value: "Big": ` + secretRule},
		},
		"a Secret with a path": {
			both("a.example", "../other"),
			[]string{secretField + `: Invalid value: "../other": ` + secretRule},
		},
		"a Secret of another namespace": {
			both("a.example", "other/secret"),
			[]string{secretField + `: Invalid value: "other/secret": ` + secretRule},
		},
		"a Secret with template syntax": {
			both("a.example", "{{ .Values.secret }}"),
			[]string{secretField + `: Invalid value: "{{ .Values.secret }}": ` + secretRule},
		},
		"a Secret with a newline": {
			both("a.example", "one\ntwo"),
			[]string{secretField + `: Invalid value: "one\ntwo": ` + secretRule},
		},
		"a Secret of 254 characters": {
			both("a.example", strings.Repeat("a", 254)),
			[]string{secretField + `: Invalid value: "` + strings.Repeat("a", 60) + `… (254 bytes)": ` + secretRule},
		},
		"a Secret for a host that is not a target": {
			both("a.example", "b.example=one"),
			[]string{
				secretField + `: Invalid value: "b.example=one": the host b.example is not among the targets in ` +
					`mtls.egress/target (a.example); add it there or remove it here`,
			},
		},
		"a Secret for an invalid host": {
			both("a.example", "*=one"),
			[]string{
				secretField + `: Invalid value: "*=one": the host is a wildcard; a target is one host, so list each host: ` + rule,
			},
		},
		"no Secret behind the equals sign": {
			both("a.example", "a.example="),
			[]string{secretField + `: Invalid value: "a.example=": has no Secret name after the =`},
		},
		"a list of Secrets without hosts": {
			both("a.example", "one,two"),
			[]string{
				secretField + `: Invalid value: "one": is not host=secret; name one Secret for all targets, or write ` +
					`host=secret for each, separated by commas`,
				secretField + `: Invalid value: "two": is not host=secret; name one Secret for all targets, or write ` +
					`host=secret for each, separated by commas`,
			},
		},
		"two Secrets for one host": {
			both("a.example", "a.example=one,a.example=two"),
			[]string{
				secretField + `: Invalid value: "a.example=two": the host a.example gets two Secrets, one and two; name one`,
			},
		},
		"a Secret annotation of a megabyte": {
			both("a.example", strings.Repeat("a", 1<<20)),
			[]string{secretField + ": Too long: may not be more than 8192 bytes"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			intent, _, errs := egress.ParseIntent(test.annotations, field.NewPath("metadata", "annotations"))
			if diff := cmp.Diff(test.want, messages(errs)); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if len(intent.Entries) > 0 {
				t.Errorf("got errors and an intent: %v", intent)
			}
		})
	}
}

func TestParseIntentWarnsOfUnknownAnnotations(t *testing.T) {
	tests := map[string]struct {
		annotation string
		want       string
	}{
		"a plural": {
			"mtls.egress/targets",
			`unknown annotation "mtls.egress/targets" has no effect; did you mean mtls.egress/target?`,
		},
		"a misspelled Secret": {
			"mtls.egress/secert",
			`unknown annotation "mtls.egress/secert" has no effect; did you mean mtls.egress/secret?`,
		},
		"another spelling": {
			"mtls.egress/Target",
			`unknown annotation "mtls.egress/Target" has no effect; did you mean mtls.egress/target?`,
		},
		"a setting": {
			"mtls.egress/sni-name",
			`unknown annotation "mtls.egress/sni-name" has no effect; the annotations are mtls.egress/target and ` +
				`mtls.egress/secret; set everything else in the EgressTarget`,
		},
		"something else": {
			"mtls.egress/secretName",
			`unknown annotation "mtls.egress/secretName" has no effect; did you mean mtls.egress/secret?`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, warnings, errs := egress.ParseIntent(map[string]string{test.annotation: "x"}, nil)
			if len(errs) > 0 {
				t.Fatalf("errors: %v", errs)
			}
			if diff := cmp.Diff([]egress.UnknownAnnotation{{Key: test.annotation, Message: test.want}}, warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseIntent(f *testing.F) {
	for _, seed := range [][2]string{{"external.system.com", ""},
		{"a.example:8443, B.example.", "a.example=one,b.example=two"}, {"bücher.example", "x"}, {"[::1]:443",
			"a=b=c"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, hosts, secrets string) {
		annotations := map[string]string{egress.AnnotationTarget: hosts, egress.AnnotationSecret: secrets}
		intent, _, errs := egress.ParseIntent(annotations, nil)
		if (len(intent.Entries) == 0) == (len(errs) == 0) {
			t.Fatalf("intent %v, errors %v: want exactly one of them", intent, errs)
		}
		for _, problem := range errs {
			if len(problem.Error()) > 600 {
				t.Errorf("the message has %d bytes, so it repeats the whole annotation", len(problem.Error()))
			}
		}
		for _, entry := range intent.Entries {
			if again, err := egress.NormalizeHost(entry.Host); err != nil || again != entry.Host {
				t.Errorf("normalizing %q again gives %q, %v", entry.Host, again, err)
			}
		}
	})
}

func BenchmarkParseIntent(b *testing.B) {
	annotations := both("external.system.com,partner.example:8443", "external.system.com=one,partner.example=two")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, errs := egress.ParseIntent(annotations, nil); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "annotations/s")
}

func targets(value string) map[string]string {
	return map[string]string{egress.AnnotationTarget: value}
}

func both(hosts, secrets string) map[string]string {
	return map[string]string{egress.AnnotationTarget: hosts, egress.AnnotationSecret: secrets}
}

func messages(errs field.ErrorList) []string {
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	return texts
}

// longHost returns a host of length characters whose labels have nearly the maximum length.
func longHost(length int) string {
	return strings.Repeat(strings.Repeat("a", 61)+".", 5)[:length-4] + "bcde"
}

func manyHosts(n int) string {
	hosts := make([]string, n)
	for i, entry := range entries(n) {
		hosts[i] = entry.Host
	}
	return strings.Join(hosts, ",")
}

func entries(n int) []egress.Entry {
	made := make([]egress.Entry, n)
	for i := range made {
		made[i].Host = string(rune('a'+i)) + ".example"
	}
	return made
}

func TestNormalizeAuthority(t *testing.T) {
	for name, test := range map[string]struct{ authority, want, err string }{
		"a host":                          {"external.system.com", "external.system.com", ""},
		"a host with a port":              {"external.system.com:8443", "external.system.com:8443", ""},
		"upper case and a dot":            {"External.System.Com.:08443", "external.system.com:8443", ""},
		"the last port":                   {"external.system.com:65535", "external.system.com:65535", ""},
		"a port that is too large":        {"external.system.com:65536", "", `has the port "65536"; a port is a number`},
		"port 0":                          {"external.system.com:0", "", `has the port "0"; a port is a number`},
		"a colon without a port":          {"external.system.com:", "", `has the port ""; a port is a number`},
		"a variable of Envoy":             {"%REQ(x-host)%", "", "which is not allowed in a host name"},
		"no host":                         {":8443", "", "is empty"},
		"a name that only the mesh knows": {"partner.mtls-egress.internal", "", "is reserved"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := egress.NormalizeAuthority(test.authority)
			if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("got %q, error %v; want %q, error %q", got, err, test.want, test.err)
			}
		})
	}
}
