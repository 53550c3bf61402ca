package serving

import (
	"crypto/x509"
	"net"

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
)

// addressAuthority signs what stands for an IP address among the DNS names as an IP address.
// Whoever calls a URL with an address looks for it there and nowhere else (RFC 9525 section 6.4),
// and DynamicSource knows names only.
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
