package serving

import (
	"crypto/x509"
	"net"

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
)

// addressAuthority moves IP addresses among the DNS names to the IP addresses of the leaf. Clients
// that call a URL with an address check only those (RFC 9525 section 6.4), but DynamicSource
// supports only DNS names.
type addressAuthority struct {
	cmtls.Authority
}

// Sign signs a leaf for the names and addresses of template.
func (a addressAuthority) Sign(template *x509.Certificate) (*x509.Certificate, error) {
	leaf := *template
	leaf.DNSNames = nil
	for _, name := range template.DNSNames {
		if address := net.ParseIP(name); address != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, address)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, name)
		}
	}
	return a.Authority.Sign(&leaf)
}
