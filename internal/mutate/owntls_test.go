package mutate

import "testing"

func TestHasURL(t *testing.T) {
	const url = "https://external.system.com"
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
		if got := hasURL(text, url); got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
}
