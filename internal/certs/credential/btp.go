package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"mtls.egress/webhook/internal/egress"
)

// Destination is the part of an SAP BTP destination that concerns the client certificate
// (https://help.sap.com/docs/connectivity/sap-btp-connectivity-cf/client-certificate-authentication-for-http-destinations).
type Destination struct {
	// Name of the destination.
	Name string
	// Host and Port of its URL.
	Host string
	Port int32
	// Path of its URL, which the app keeps using. "" if the URL has none.
	Path string
	// KeyStoreName is the name of the key store.
	KeyStoreName string
	// KeyStore is its content: PKCS#12, or PEM with the key and the certificates. nil for the text
	// of the cockpit, which doesn't contain it.
	KeyStore []byte
	// Password of the key store. "" if the export omits it.
	Password string
	// TrustStore is the name of the store with the CA of the server. "" if the destination trusts
	// the CAs of the platform.
	TrustStore string
	// TrustAll reports whether the destination skips server authentication.
	TrustAll bool
}

// exportedDestination is the JSON of the destination service. Depending on the API call, the fields
// of the destination are next to the certificates or one level below
// (https://api.sap.com/api/SAP_CP_CF_Connectivity_Destination/overview).
type exportedDestination struct {
	destinationFields
	Configuration *destinationFields       `json:"destinationConfiguration"`
	Certificates  []destinationCertificate `json:"certificates"`
}

type destinationFields struct {
	Name               string   `json:"Name"`
	URL                string   `json:"URL"`
	Authentication     string   `json:"Authentication"`
	KeyStoreLocation   string   `json:"KeyStoreLocation"`
	KeyStorePassword   string   `json:"KeyStorePassword"`
	TrustStoreLocation string   `json:"TrustStoreLocation"`
	TrustAll           trueText `json:"TrustAll"`
}

type destinationCertificate struct {
	Name    string `json:"Name"`
	Content string `json:"Content"`
}

// trueText is a boolean that the destination service writes as a string.
type trueText bool

func (t *trueText) UnmarshalJSON(text []byte) error {
	*t = trueText(strings.EqualFold(strings.Trim(string(text), `"`), "true"))
	return nil
}

// clientCertificateAuthentication is the only authentication type with a client certificate.
const clientCertificateAuthentication = "ClientCertificateAuthentication"

// ReadDestination parses an exported destination: the JSON of the destination service, or the text
// that the cockpit exports, which is Java properties. The error lists all problems, one per line.
// It contains no content of the file except names.
func ReadDestination(content []byte) (*Destination, error) {
	// The key store is base64-encoded, and the other certificates can have the same size.
	if most := 2 * MaxPartSize; len(content) > most {
		return nil, fmt.Errorf("the file has %d bytes: the limit is %d", len(content), most)
	}
	text, _, err := Text(content)
	if err != nil {
		return nil, fmt.Errorf("the file %w", err)
	}
	isProperties := false
	var exported exportedDestination
	if err := json.Unmarshal(text, &exported); err != nil {
		// The error of the decoder can contain a value, such as the password.
		properties := parseProperties(text)
		if properties["Type"] == "" && properties["URL"] == "" {
			return nil, errors.New(
				"the file is neither the JSON of a destination nor the text that the cockpit exports: JSON must have an " +
					"object with URL, Authentication, KeyStoreLocation, KeyStorePassword, and certificates[] with Name and " +
					"Content, and the text lines such as Type=HTTP and URL=https://host")
		}
		isProperties, exported.destinationFields = true, fieldsOf(properties)
	}
	fields := exported.destinationFields
	if exported.Configuration != nil {
		fields = *exported.Configuration
	}
	destination, err := destinationOf(fields)
	if isProperties && fields.KeyStoreLocation != "" {
		destination.KeyStoreName = fields.KeyStoreLocation
	} else {
		err = errors.Join(err, destination.setKeyStore(fields.KeyStoreLocation, exported.Certificates))
	}
	if err != nil {
		return nil, err
	}
	return destination, nil
}

func fieldsOf(properties map[string]string) destinationFields {
	return destinationFields{
		Name:               properties["Name"],
		URL:                properties["URL"],
		Authentication:     properties["Authentication"],
		KeyStoreLocation:   properties["KeyStoreLocation"],
		KeyStorePassword:   properties["KeyStorePassword"],
		TrustStoreLocation: properties["TrustStoreLocation"],
		TrustAll:           trueText(strings.EqualFold(properties["TrustAll"], "true")),
	}
}

// destinationOf returns the destination without its key store, and all problems of the fields.
func destinationOf(fields destinationFields) (*Destination, error) {
	destination := &Destination{
		Name:       fields.Name,
		Password:   fields.KeyStorePassword,
		TrustStore: fields.TrustStoreLocation,
		TrustAll:   bool(fields.TrustAll),
	}
	var problems []error
	if fields.Authentication != clientCertificateAuthentication {
		problems = append(
			problems,
			fmt.Errorf("the Authentication is %s, and only %s has a client certificate",
				quoteField(fields.Authentication), clientCertificateAuthentication),
		)
	}
	return destination, errors.Join(append(problems, destination.setURL(fields.URL))...)
}

// quoteField formats a field of the file for a message.
func quoteField(value string) string {
	if value == "" {
		return "missing"
	}
	return Quote(value)
}

func (d *Destination) setURL(text string) error {
	const want = "it must be https://host or https://host:port"
	parsed, err := url.Parse(text)
	switch {
	case text == "":
		return fmt.Errorf("URL is missing: %s", want)
	case err != nil:
		// The error of the parser contains the URL, which can contain a password.
		return fmt.Errorf("URL can't be read: %s", want)
	case parsed.Scheme != "https":
		return fmt.Errorf("URL has the scheme %s: %s, because a client certificate requires TLS",
			quoteField(parsed.Scheme), want)
	}
	host, err := egress.NormalizeHost(parsed.Hostname())
	if err != nil {
		return fmt.Errorf("URL has a host that can't be a target: it %w", err)
	}
	port := int64(egress.DefaultPort)
	if parsed.Port() != "" {
		port, err = strconv.ParseInt(parsed.Port(), 10, 32)
		if err != nil || port < 1 || port > 65535 {
			return fmt.Errorf("URL has the port %s: a port is a number from 1 to 65535", quoteField(parsed.Port()))
		}
	}
	d.Host, d.Port = host, int32(port)
	if parsed.Path != "/" {
		d.Path = parsed.Path
	}
	return nil
}

func (d *Destination) setKeyStore(location string, certificates []destinationCertificate) error {
	if location == "" {
		return errors.New("KeyStoreLocation is missing: it names the key store among the certificates")
	}
	var names []string
	for _, certificate := range certificates {
		if certificate.Name != location {
			names = append(names, quoteField(certificate.Name))
			continue
		}
		content, ok := decodeBase64([]byte(certificate.Content))
		if !ok || len(content) == 0 {
			return fmt.Errorf("the certificate %s has no Content in base64", quoteField(location))
		}
		d.KeyStoreName, d.KeyStore = location, content
		return nil
	}
	if len(names) == 0 {
		return fmt.Errorf(
			"KeyStoreLocation is %s, but the file has no certificates: export the destination with them "+
				"(certificates[] with Name and Content), or download the key store and import it separately",
			quoteField(location))
	}
	return fmt.Errorf("KeyStoreLocation is %s, but the certificates are %s", quoteField(location),
		Printable(strings.Join(names, ", ")))
}

// Target returns the target for the host and port of the destination.
func (d *Destination) Target(namespace string) egress.Target {
	t := egress.FromEgressTarget(namespace, d.Host, nil, egress.Sinkhole{})
	t.Port = d.Port
	return t
}
