package mutate

import (
	"testing"

	"mtls.egress/webhook/internal/egress"
)

const urlHost = "external.system.com"

func TestHTTPSURL(t *testing.T) {
	for text, want := range map[string]string{
		"https://external.system.com":                                          "https://external.system.com",
		"https://external.system.com/pay":                                      "https://external.system.com",
		"--url=https://external.system.com:8443 --other":                       "https://external.system.com:8443",
		"HTTPS://External.System.Com":                                          "https://external.system.com",
		"https://external.system.com.":                                         "https://external.system.com",
		"https://external.system.com./pay":                                     "https://external.system.com",
		`{"partner":"https://external.system.com"}`:                            "https://external.system.com",
		"https://external.system.com.example.org, https://external.system.com": "https://external.system.com",
		"https://external.system.com.example.org":                              "",
		"https://external.system.community":                                    "",
		"https://user:p@ss@external.system.com/pay":                            "https://external.system.com",
		"https://example.org/external.system.com":                              "",
		"https://example.org,https://external.system.com":                      "https://external.system.com",
		"https://external.system.com@example.org":                              "",
		"https://external.system.com-test.example.org":                         "",
		"http://external.system.com":                                           "",
		"https://my.external.system.com":                                       "",
		"https://external.system.com:443/pay":                                  "https://external.system.com:443",
		"https://external.system.com:$(PORT)":                                  "https://external.system.com",
		"https://external.system.com,https://external.system.com:8443":         "https://external.system.com:8443",
		"https://external.system.com:8443,https://external.system.com":         "https://external.system.com:8443",
		"": "",
	} {
		if got, _ := httpsURL(text, egress.Target{Host: urlHost, Port: 443}); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// What to write instead depends on which port of the URL can be meant.
func TestAdvice(t *testing.T) {
	target := func(port, appPort int32) egress.Target {
		return egress.Target{Host: urlHost, Port: port, AppPort: appPort}
	}
	const (
		own     = "such calls leave with the app's own TLS, without the client certificate; use http://external.system.com"
		fail    = "such calls fail, because the TLS port of the target is "
		tlsPort = "if 8443 is the partner's TLS port, set spec.port: 8443 in the EgressTarget, or without one write " +
			"external.system.com:8443 in mtls.egress/target"
	)
	for name, test := range map[string]struct{ got, want string }{
		"https at the TLS port":    {ownTLSAdvice(target(443, 80), 443), own},
		"https at an unknown port": {ownTLSAdvice(target(8443, 80), 0), own},
		"https at another port": {
			ownTLSAdvice(target(443, 80), 8443), fail + "443; use http://external.system.com; " + tlsPort,
		},
		"https at 443, and the target has another port": {
			ownTLSAdvice(target(8443, 80), 443), fail + "8443; use http://external.system.com",
		},
		"https at the app port": {
			ownTLSAdvice(target(443, 8080), 8080), fail + "443; use http://external.system.com:8080",
		},
		"http at another port": {
			OtherPortAdvice(target(443, 80), 8443), "use http://external.system.com; " + tlsPort +
				"; if it is the port that the app calls, set spec.appPort: 8443 there",
		},
		"http at a port that can't be an app port": {
			OtherPortAdvice(target(8443, 80), 443), "use http://external.system.com; if 443 is the partner's TLS port, " +
				"set spec.port: 443 in the EgressTarget, or without one write external.system.com:443 in mtls.egress/target",
		},
		"http at the TLS port": {OtherPortAdvice(target(443, 80), 443), "use http://external.system.com"},
		"http at 80":           {OtherPortAdvice(target(443, 8080), 80), "use http://external.system.com:8080"},
	} {
		if test.got != test.want {
			t.Errorf("%s: %s\nwant %s", name, test.got, test.want)
		}
	}
}

func TestOtherPort(t *testing.T) {
	for text, want := range map[string]struct{ at80, at8080 int32 }{
		"http://external.system.com":                                             {at8080: 80},
		"http://external.system.com/pay":                                         {at8080: 80},
		"http://external.system.com:":                                            {},
		"http://external.system.com:80":                                          {at8080: 80},
		"http://external.system.com:8080/pay":                                    {at80: 8080},
		"http://external.system.com:080":                                         {at8080: 80},
		"http://external.system.com:443":                                         {at80: 443, at8080: 443},
		"--url=http://external.system.com:8080 --other":                          {at80: 8080},
		"HTTP://External.System.Com:8080":                                        {at80: 8080},
		"http://external.system.com.:8080":                                       {at80: 8080},
		`{"partner":"http://external.system.com:8080"}`:                          {at80: 8080},
		"{partner: http://external.system.com:8080}":                             {at80: 8080},
		"http://external.system.com:80,http://external.system.com:8080":          {at80: 8080, at8080: 80},
		"http://external.system.com, http://external.system.com:8080":            {at80: 8080, at8080: 80},
		"http://user:8080@external.system.com/pay":                               {at8080: 80},
		"http://external.system.com:$(PORT)":                                     {},
		"http://external.system.com:80$(SUFFIX)":                                 {},
		"http://external.system.com$(SUFFIX)":                                    {},
		"http://external.system.com:{{ .port }}":                                 {},
		"http://external.system.com:99999":                                       {},
		"http://external.system.com.example.org:8080":                            {},
		"http://external.system.community:8080":                                  {},
		"http://external.system.com-test:8080":                                   {},
		"http://my.external.system.com:8080":                                     {},
		"http://external.system.com:8080@example.org":                            {},
		"http://proxy.example.org:8080/http%3A//external.system.com":             {},
		"https://external.system.com:8080":                                       {},
		"external.system.com:8080":                                               {},
		"http://external.system.com.example.org:1, http://external.system.com:2": {at80: 2, at8080: 2},
		"": {},
	} {
		for appPort, want := range map[int32]int32{80: want.at80, 8080: want.at8080} {
			target := egress.Target{Host: urlHost, Port: 443, AppPort: appPort}
			if got := otherPort(text, target); got != want {
				t.Errorf("%s, with the app port %d: %d, want %d", text, appPort, got, want)
			}
		}
	}
}
