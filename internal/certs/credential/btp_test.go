package credential_test

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/certs/credential"
)

func TestReadsADestination(t *testing.T) {
	content := base64.StdEncoding.EncodeToString([]byte("the key store"))
	fields := `"Name":"partner","Type":"HTTP","URL":"https://API.Partner.example:8443/orders",` +
		`"Authentication":"ClientCertificateAuthentication","ProxyType":"Internet","KeyStoreLocation":"keystore.p12",` +
		`"KeyStorePassword":"secret","TrustStoreLocation":"trust.jks","TrustAll":"TRUE"`
	certificates := `"certificates":[{"Name":"trust.jks","Content":"AA=="},{"Name":"keystore.p12","Content":"` +
		content + `","Type":"CERTIFICATE"}]`
	whole := &credential.Destination{
		Name: "partner", Host: "api.partner.example", Port: 8443, Path: "/orders",
		KeyStoreName: "keystore.p12", KeyStore: []byte("the key store"), Password: "secret", TrustStore: "trust.jks",
		TrustAll: true,
	}
	cockpit := *whole
	cockpit.KeyStore = nil
	tests := map[string]struct {
		file string
		want *credential.Destination
		err  string
	}{
		"the fields next to the certificates": {file: `{` + fields + `,` + certificates + `}`, want: whole},
		"the fields one level down": {
			file: `{"owner":{"SubaccountId":"x"},"destinationConfiguration":{` + fields + `},` + certificates + `}`,
			want: whole,
		},
		"no more than is needed": {
			file: `{"URL":"https://partner.example/","Authentication":"ClientCertificateAuthentication",` +
				`"KeyStoreLocation":"k","certificates":[{"Name":"k","Content":"AA==\n"}],"TrustAll":false}`,
			want: &credential.Destination{Host: "partner.example", Port: 443, KeyStoreName: "k", KeyStore: []byte{0}},
		},
		"no JSON": {
			file: "secret",
			err: "the file is neither the JSON of a destination nor the text that the cockpit exports: JSON must have an " +
				"object with URL, Authentication, KeyStoreLocation, KeyStorePassword, and certificates[] with Name and " +
				"Content, and the text lines such as Type=HTTP and URL=https://host",
		},
		"the text of the cockpit": {
			file: "#\n#Tue Nov 24 09:12:01 UTC 2026\nURL=https\\://API.Partner.example\\:8443/orders\nName=partner\n" +
				"Type = HTTP\nTrustAll: true\nTrustStoreLocation=trust\\u002ejks\nKeyStoreLocation=keystore.p12\n" +
				"KeyStorePassword=sec\\\n  ret\nAuthentication=ClientCertificateAuthentication\n",
			want: &cockpit,
		},
		"the text of the cockpit, from Windows": {
			file: "Type=HTTP\r\nURL=https://partner.example\r\nAuthentication=ClientCertificateAuthentication\r\n" +
				"KeyStoreLocation=k.pem\r\n",
			want: &credential.Destination{Host: "partner.example", Port: 443, KeyStoreName: "k.pem"},
		},
		"the text of another kind of destination": {
			file: "Type=HTTP\nURL=https://partner.example\nAuthentication=NoAuthentication\n",
			err: `the Authentication is "NoAuthentication", and only ClientCertificateAuthentication has a client ` +
				"certificate\nKeyStoreLocation is missing: it names the key store among the certificates",
		},
		"all problems at once": {
			file: `{}`,
			err: "the Authentication is missing, and only ClientCertificateAuthentication has a client certificate\n" +
				"URL is missing: it must be https://host or https://host:port\nKeyStoreLocation is missing: it names " +
				"the key store among the certificates",
		},
		"another kind, in plain text, with another store": {
			file: `{"URL":"http://partner.example","Authentication":"BasicAuthentication","KeyStoreLocation":"k.p12",` +
				`"certificates":[{"Name":"other.p12"}]}`,
			err: `the Authentication is "BasicAuthentication", and only ` +
				`ClientCertificateAuthentication has a client certificate` + "\n" +
				`URL has the scheme "http": it must be https://host or https://host:port, because a ` +
				`client certificate requires TLS` + "\n" +
				`KeyStoreLocation is "k.p12", but the certificates are "other.p12"`,
		},
		"an export without certificates": {
			file: `{"URL":"https://10.0.0.1","Authentication":"ClientCertificateAuthentication","KeyStoreLocation":"k.p12"}`,
			err: "URL has a host that can't be a target: it is the IP address 10.0.0.1; a certificate is checked " +
				"against a name: a host has at least two labels of letters, digits and inner hyphens, for " +
				"example external.system.com\n" +
				`KeyStoreLocation is "k.p12", but the file has no certificates: export the destination with them ` +
				`(certificates[] with Name and Content), or download the key store and import it separately`,
		},
		"a store that is not base64, and an invalid port": {
			file: `{"URL":"https://partner.example:70000","Authentication":"ClientCertificateAuthentication",` +
				`"KeyStoreLocation":"k.p12","certificates":[{"Name":"k.p12","Content":"!"}]}`,
			err: `URL has the port "70000": a port is a number from 1 to 65535` + "\n" +
				`the certificate "k.p12" has no Content in base64`,
		},
		"a URL that can't be read": {
			file: `{"URL":"https://user:secret@a b","Authentication":"ClientCertificateAuthentication","KeyStoreLocation":"k",` +
				`"certificates":[{"Name":"k","Content":"AA=="}]}`,
			err: "URL can't be read: it must be https://host or https://host:port",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := credential.ReadDestination([]byte(test.file))
			message := ""
			if err != nil {
				message = err.Error()
			}
			if diff := cmp.Diff(test.err, message); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(message, "secret") {
				t.Errorf("the password is in the message: %s", message)
			}
		})
	}
}

func FuzzReadDestination(f *testing.F) {
	f.Add(
		[]byte(
			`{"URL":"https://a.example:1/x","Authentication":"ClientCertificateAuthentication","KeyStoreLocation":"k",` +
				`"KeyStorePassword":"p","certificates":[{"Name":"k","Content":"AA=="}],"TrustAll":"true"}`,
		),
	)
	f.Add([]byte(`{"destinationConfiguration":{"URL":"::"},"certificates":[{}]}`))
	f.Add(
		[]byte(
			`{"URL":"https://` + strings.Repeat("a.",
				5000) + `example","KeyStoreLocation":"k","certificates":[` + strings.Repeat(`{"Name":"\u2028x"},`,
				1000) + `{}]}`,
		),
	)
	f.Add([]byte(`{"URL":"https://[fe80::1%25a%0ab%C2%85]"}`))
	f.Add([]byte("Type=HTTP\nURL=https\\://a.example\nAuthentication=ClientCertificateAuthentication\n" +
		"KeyStoreLocation=\\u00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		destination, err := credential.ReadDestination(content)
		if err != nil {
			for message := range strings.SplitSeq(err.Error(), "\n") {
				checkMessage(t, message)
			}
			return
		}
		if destination.Host == "" || destination.Port < 1 || destination.KeyStoreName == "" {
			t.Errorf("accepted half of a destination: %+v", destination)
		}
	})
}

// TestReadsKeyStoresInPEM reads the key stores that destinations can have besides PKCS#12.
func TestReadsKeyStoresInPEM(t *testing.T) {
	read := func(name string) []byte { return must[[]byte](t)(os.ReadFile("testdata/keystores/" + name)) }
	plain := must[credential.Bundle](t)(credential.ReadKeyStore("k", read("keystore.pem"), ""))
	const undecryptable = "it doesn't decrypt the private key"
	for name, test := range map[string]struct {
		content  []byte
		password string
		err      string
	}{
		"in plain text": {content: read("keystore.pem")},
		"encrypted":     {content: read("keystore-encrypted.pem"), password: "changeit"},
		"PKCS#12":       {content: read("openssl-default.p12"), password: "changeit"},
		"another password": {content: read("keystore-encrypted.pem"), password: "x",
			err: "the password is wrong: " + undecryptable},
		"no password": {
			content: read("keystore-encrypted.pem"),
			err:     "the file has a password, and none was given",
		},
		"scrypt": {
			content:  read("key-scrypt.pem"),
			password: "changeit",
			err: "the private key is encrypted in a way that is not supported: decrypt it (openssl pkey -in FILE -out " +
				"NEW)",
		},
		"a Java key store": {content: read("java.jks"), password: "changeit"},
		"a Java key store with a cipher of its own": {
			content:  read("java.jceks"),
			password: "changeit",
			err: "the file is a Java key store (JCEKS), and its private key is encrypted in a way that is not supported: " +
				"convert it (keytool -importkeystore -srckeystore FILE -srcstoretype JCEKS -destkeystore new.p12 " +
				"-deststoretype PKCS12)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bundle, err := credential.ReadKeyStore("k", test.content, test.password)
			if err != nil || test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("got  %v\nwant %s", err, test.err)
				}
				return
			}
			if diff := cmp.Diff(plain, bundle); diff != "" {
				t.Errorf("(-in plain text +this):\n%s", diff)
			}
		})
	}
}
