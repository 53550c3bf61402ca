package mutate

import (
	"testing"

	"mtls.egress/webhook/internal/egress"
)

const urlHost = "external.system.com"

func TestHasURL(t *testing.T) {
	for text, want := range map[string]bool{
		"https://external.system.com":                                          true,
		"https://external.system.com/pay":                                      true,
		"--url=https://external.system.com:8443 --other":                       true,
		"HTTPS://External.System.Com":                                          true,
		"https://external.system.com.":                                         true,
		"https://external.system.com./pay":                                     true,
		`{"partner":"https://external.system.com"}`:                            true,
		"https://external.system.com.example.org, https://external.system.com": true,
		"https://external.system.com.example.org":                              false,
		"https://external.system.community":                                    false,
		"https://user:p@ss@external.system.com/pay":                            true,
		"https://example.org/external.system.com":                              false,
		"https://example.org,https://external.system.com":                      true,
		"https://external.system.com@example.org":                              false,
		"https://external.system.com-test.example.org":                         false,
		"http://external.system.com":                                           false,
		"https://my.external.system.com":                                       false,
		"":                                                                     false,
	} {
		if got := hasURL(text, urlHost); got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
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
