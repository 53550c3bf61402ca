package credential_test

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

// TestEnvoySubjectIsWhatOpenSSLPrints compares with openssl's RFC2253, because Envoy calls
// X509_NAME_print_ex with XN_FLAG_RFC2253. The expected strings are also in the table, for machines
// without openssl.
func TestEnvoySubjectIsWhatOpenSSLPrints(t *testing.T) {
	set := func(value string, oid ...int) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}}
	}
	// named returns a name with an attribute for each number in an arc, in the order of a certificate.
	named := func(first, last int, arc ...int) (sequence pkix.RDNSequence) {
		for number := first; number <= last; number++ {
			sequence = append(sequence, set("x", append(slices.Clone(arc), number)...))
		}
		return sequence
	}
	tests := map[string]struct {
		name pkix.RDNSequence
		want string
		// BoringSSL supports fewer attributes than OpenSSL.
		openssl string
	}{
		"the last attribute comes first": {
			name: pkix.RDNSequence{set("DE", 2, 5, 4, 6), set("Example", 2, 5, 4, 10), set("orders", 2, 5, 4, 3)},
			want: "CN=orders,O=Example,C=DE",
		},
		"bytes beyond ASCII": {
			name: pkix.RDNSequence{set("Müller & Söhne", 2, 5, 4, 3)},
			want: `CN=M\C3\BCller & S\C3\B6hne`,
		},
		"characters that need an escape": {
			name: pkix.RDNSequence{set(` #a,b+c"d\e<f>g;h `, 2, 5, 4, 3)},
			want: `CN=\ #a\,b\+c\"d\\e\<f\>g\;h\ `,
		},
		"a street, which the RFC has as STREET": {
			name: pkix.RDNSequence{set("Main 1", 2, 5, 4, 9)},
			want: "street=Main 1",
		},
		"attributes that the RFC has no name for": {
			name: pkix.RDNSequence{
				set("a", 2, 5, 4, 4),
				set("b", 2, 5, 4, 12),
				set("c", 2, 5, 4, 13),
				set("d", 2, 5, 4, 15),
				set("e", 2, 5, 4, 17),
				set("f", 2, 5, 4, 41),
				set("g", 2, 5, 4, 42),
				set("h", 2, 5, 4, 43),
				set("i", 2, 5, 4, 44),
				set("j", 2, 5, 4, 46),
				set("k", 2, 5, 4, 65),
			},
			want: "pseudonym=k,dnQualifier=j,generationQualifier=i,initials=h,GN=g,name=f,postalCode=e," +
				"businessCategory=d,description=c,title=b,SN=a",
		},
		"an attribute that nobody knows": {name: pkix.RDNSequence{set("x", 1, 2, 3, 4)}, want: "1.2.3.4=#130178"},
		"two in one set": {
			name: pkix.RDNSequence{
				{
					{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "a"},
					{Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: "b"},
				},
			},
			want: "OU=b+CN=a",
		},
		"hexadecimal in capitals": {
			name: pkix.RDNSequence{set("jklmno", 1, 2, 3, 4)},
			want: "1.2.3.4=#13066A6B6C6D6E6F",
		},
		"a company of the EU's register": {
			name: pkix.RDNSequence{
				set("NTRDE-1", 2, 5, 4, 97),
				set("Example", 2, 5, 4, 10),
			},
			want:    "O=Example,2.5.4.97=#13074E545244452D31",
			openssl: "O=Example,organizationIdentifier=NTRDE-1",
		},
		"a country of incorporation": {
			name: pkix.RDNSequence{
				set("DE", 1, 3, 6, 1, 4, 1, 311, 60, 2, 1, 3),
			},
			want:    "1.3.6.1.4.1.311.60.2.1.3=#13024445",
			openssl: "jurisdictionC=DE",
		},
		"a number far beyond the names": {
			name: pkix.RDNSequence{set("x", 2, 5, 4, 99999)},
			want: "2.5.4.99999=#130178",
		},
		"all of X.520": {
			name: named(3, 54, 2, 5, 4),
			want: "dmdName=x,deltaRevocationList=x,supportedAlgorithms=x,houseIdentifier=x,uniqueMember=x," +
				"distinguishedName=x,protocolInformation=x,enhancedSearchGuide=x,dnQualifier=x,x500UniqueIdentifier=x," +
				"generationQualifier=x,initials=x,GN=x,name=x,crossCertificatePair=x,certificateRevocationList=x," +
				"authorityRevocationList=x,cACertificate=x,userCertificate=x,userPassword=x,seeAlso=x,roleOccupant=x,owner=x," +
				"member=x,supportedApplicationContext=x,presentationAddress=x,preferredDeliveryMethod=x," +
				"destinationIndicator=x,registeredAddress=x,internationaliSDNNumber=x,x121Address=x," +
				"facsimileTelephoneNumber=x,teletexTerminalIdentifier=x,telexNumber=x,telephoneNumber=x," +
				"physicalDeliveryOfficeName=x,postOfficeBox=x,postalCode=x,postalAddress=x,businessCategory=x,searchGuide=x," +
				"description=x,title=x,OU=x,O=x,street=x,ST=x,L=x,C=x,serialNumber=x,SN=x,CN=x",
		},
		"pseudonym and role": {
			name: pkix.RDNSequence{set("x", 2, 5, 4, 65), set("x", 2, 5, 4, 72)},
			want: "role=x,pseudonym=x",
		},
		"PKCS#9": {
			name: named(1, 9, 1, 2, 840, 113549, 1, 9),
			want: "extendedCertificateAttributes=x,unstructuredAddress=x,challengePassword=x,countersignature=x,signingTime=x," +
				"messageDigest=x,contentType=x,unstructuredName=x,emailAddress=x",
		},
		"PKCS#9, requests and S/MIME": {
			name: named(14, 16, 1, 2, 840, 113549, 1, 9),
			want: "SMIME=x,SMIME-CAPS=x,extReq=x",
		},
		"PKCS#9, bags": {
			name: named(20, 21, 1, 2, 840, 113549, 1, 9),
			want: "localKeyID=x,friendlyName=x",
		},
		"the pilot, to documents": {
			name: named(1, 15, 0, 9, 2342, 19200300, 100, 1),
			want: "documentLocation=x,documentAuthor=x,documentVersion=x,documentTitle=x,documentIdentifier=x,manager=x," +
				"host=x,userClass=x,photo=x,roomNumber=x,favouriteDrink=x,info=x,mail=x,textEncodedORAddress=x,UID=x",
		},
		"the pilot, to domains": {
			name: named(20, 31, 0, 9, 2342, 19200300, 100, 1),
			want: "cNAMERecord=x,sOARecord=x,nSRecord=x,mXRecord=x,pilotAttributeType27=x,aRecord=x,DC=x,lastModifiedBy=x," +
				"lastModifiedTime=x,otherMailbox=x,secretary=x,homeTelephoneNumber=x",
		},
		"the pilot, to countries": {
			name: named(37, 43, 0, 9, 2342, 19200300, 100, 1),
			want: "friendlyCountryName=x,pagerTelephoneNumber=x,mobileTelephoneNumber=x,personalTitle=x," +
				"homePostalAddress=x,associatedName=x,associatedDomain=x",
		},
		"the pilot, to its end": {
			name: named(45, 56, 0, 9, 2342, 19200300, 100, 1),
			want: "documentPublisher=x,audio=x,dITRedirect=x,personalSignature=x,subtreeMaximumQuality=x," +
				"subtreeMinimumQuality=x,singleLevelQuality=x,dSAQuality=x,buildingName=x," +
				"mailPreferenceOption=x,janetMailbox=x,organizationalStatus=x",
		},
	}
	ca := pki.NewCA(t, "Partner CA")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			template := pki.Client("")
			template.RawSubject = must[[]byte](t)(asn1.Marshal(test.name))
			client := ca.Issue(t, template)
			if diff := cmp.Diff(test.want, credential.EnvoySubject(client.Certificate.RawSubject)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			wantOfOpenSSL := test.want
			if test.openssl != "" {
				wantOfOpenSSL = test.openssl
			}
			output, ok := openssl(t, "x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in",
				write(t, "client.pem", client.CertPEM))
			if !ok {
				t.Fatal(output)
			}
			if diff := cmp.Diff("subject="+wantOfOpenSSL, strings.TrimSuffix(output, "\n")); diff != "" {
				t.Errorf("openssl writes it otherwise (-ours +openssl):\n%s", diff)
			}
		})
	}
}

func detailsOf(pair pki.Pair, details credential.Details) credential.Details {
	sum := sha256.Sum256(pair.Certificate.Raw)
	details.SHA256 = hex.EncodeToString(sum[:])
	details.NotBefore, details.NotAfter = pair.Certificate.NotBefore, pair.Certificate.NotAfter
	details.KeyType, details.Signature = "ecdsa-p256", "ECDSA-SHA256"
	return details
}

// looked inspects parsed material.
func looked(material *credential.Material, err error) (*credential.Inspection, error) {
	if err != nil {
		return nil, err
	}
	return material.Inspect(now()), nil
}

func TestInspectTellsEverything(t *testing.T) {
	root := pki.SelfSigned(t, authority("Root", 1))
	issuing := &pki.CA{Pair: root.Issue(t, authority("Müller", 2))}
	server := pki.SelfSigned(t, authority("Server CA", 3))
	client := issuing.Issue(t, numbered(0x10))
	days := credential.DaysLeft(client.Certificate.NotAfter, now())
	leaf := detailsOf(client, credential.Details{
		Subject:          "CN=orders",
		Issuer:           "CN=Müller",
		EnvoySubject:     "CN=orders",
		SerialNumber:     "10",
		DaysLeft:         days,
		DNSNames:         []string{"orders.example.com"},
		KeyUsage:         "digitalSignature",
		ExtendedKeyUsage: "clientAuth",
		IssuedByNext:     true,
	})
	middle := detailsOf(
		issuing.Pair,
		credential.Details{
			Subject:      "CN=Müller",
			Issuer:       "CN=Root",
			EnvoySubject: `CN=M\C3\BCller`,
			SerialNumber: "02",
			DaysLeft:     days,
			KeyUsage:     "keyCertSign",
			Authority:    true,
		},
	)
	top := detailsOf(
		root.Pair,
		credential.Details{
			Subject:      "CN=Root",
			Issuer:       "CN=Root",
			EnvoySubject: "CN=Root",
			SerialNumber: "01",
			DaysLeft:     days,
			KeyUsage:     "keyCertSign",
			Authority:    true,
			SelfSigned:   true,
		},
	)
	other := detailsOf(
		server.Pair,
		credential.Details{
			Subject:      "CN=Server CA",
			Issuer:       "CN=Server CA",
			EnvoySubject: "CN=Server CA",
			SerialNumber: "03",
			DaysLeft:     days,
			KeyUsage:     "keyCertSign",
			Authority:    true,
			SelfSigned:   true,
		},
	)
	signedByRoot := middle
	signedByRoot.IssuedByNext = true
	chain := slices.Concat(client.CertPEM, issuing.CertPEM)
	file := must[[]byte](t)(
		pkcs12.Modern2023.Encode(client.Key, client.Certificate,
			[]*x509.Certificate{root.Certificate, issuing.Certificate}, "x"),
	)

	tests := map[string]struct {
		inspect func() (*credential.Inspection, error)
		want    *credential.Inspection
	}{
		"a PEM file with the key": {
			func() (*credential.Inspection, error) {
				return looked(credential.MaterialOfCertificates("f.pem", slices.Concat(client.KeyPEM, chain)))
			},
			&credential.Inspection{
				Format:   "PEM",
				KeyType:  "ecdsa-p256",
				Chain:    []credential.Details{leaf, middle},
				Findings: []credential.Finding{},
			},
		},
		"a PEM file without the key": {
			func() (*credential.Inspection, error) {
				return looked(credential.MaterialOfCertificates("f.pem", chain))
			},
			&credential.Inspection{
				Format:   "PEM",
				Chain:    []credential.Details{leaf, middle},
				Findings: []credential.Finding{},
			},
		},
		"a PKCS#12 file": {
			func() (*credential.Inspection, error) { return looked(credential.MaterialOfPKCS12(file, "x")) },
			&credential.Inspection{
				Format:   "PKCS#12",
				KeyType:  "ecdsa-p256",
				Chain:    []credential.Details{leaf, signedByRoot, top},
				Findings: []credential.Finding{},
			},
		},
		"a Secret": {
			func() (*credential.Inspection, error) {
				return looked(
					credential.MaterialOfSecret(
						&corev1.Secret{
							Data: map[string][]byte{"cert": chain, "key": client.KeyPEM, "cacert": server.CertPEM},
						},
					),
				)
			},
			&credential.Inspection{
				Format:   "Secret",
				Layout:   "cert,key,cacert",
				KeyType:  "ecdsa-p256",
				Chain:    []credential.Details{leaf, middle},
				ServerCA: []credential.Details{other},
				Findings: []credential.Finding{},
			},
		},
		"a Secret that cert-manager wrote, of which the controller wants to be told": {
			func() (*credential.Inspection, error) {
				return looked(credential.MaterialOfSecret(&corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{
						Annotations: map[string]string{"cert-manager.io/certificate-name": "orders"},
					},
					Data: map[string][]byte{"tls.crt": chain, "tls.key": client.KeyPEM, "ca.crt": server.CertPEM},
				}))
			},
			&credential.Inspection{
				Format:   "Secret",
				Layout:   "tls.crt,tls.key,ca.crt",
				KeyType:  "ecdsa-p256",
				Chain:    []credential.Details{leaf, middle},
				ServerCA: []credential.Details{other},
				Findings: []credential.Finding{
					{
						Severity: credential.Warning,
						Reason:   credential.ServerCANotChosen,
						Message: `without serverCA in the EgressTarget this Secret is refused: "ca.crt" was written ` +
							`by cert-manager for the Certificate orders: it is the CA of the ` +
							`client certificate, which ` +
							`need not be the CA of the server; set spec.serverCA of the EgressTarget to the CA of ` +
							`the server: configMap, system: true, or secretKey: ca.crt if the same CA ` +
							`signs the server's certificate`,
					},
				},
			},
		},
		"a Secret of cert-manager's, with the CA of the client": {
			func() (*credential.Inspection, error) {
				return looked(
					credential.MaterialOfSecret(
						&corev1.Secret{
							Data: map[string][]byte{"tls.crt": chain, "tls.key": client.KeyPEM, "ca.crt": root.CertPEM},
						},
					),
				)
			},
			&credential.Inspection{
				Format:   "Secret",
				Layout:   "tls.crt,tls.key,ca.crt",
				KeyType:  "ecdsa-p256",
				Chain:    []credential.Details{leaf, middle},
				ServerCA: []credential.Details{top},
				Findings: []credential.Finding{
					{
						Severity: credential.Warning,
						Reason:   credential.ServerCAIsClientIssuer,
						Message: `the CA of the server is the issuer of the client certificate (subject "CN=Root", ` +
							`serial 01): that is correct only if the same CA signs both; otherwise every call fails, ` +
							`so ask the partner which CA signs the server's certificate`,
					},
				},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := test.inspect()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.Refused() {
				t.Error("it counts as refused")
			}
		})
	}
}

func TestInspectFindsWhatIsWrong(t *testing.T) {
	root := pki.SelfSigned(t, authority("Root", 1))
	issuing := &pki.CA{Pair: root.Issue(t, authority("Issuing", 2))}
	client := issuing.Issue(t, numbered(0x10))
	changed := func(change func(*pki.Template)) pki.Pair {
		template := numbered(0x10)
		change(&template)
		return issuing.Issue(t, template)
	}
	server := changed(
		func(template *pki.Template) { template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	expired := changed(func(template *pki.Template) { template.NotAfter = now().AddDate(0, 0, -3) })
	nameless := changed(func(template *pki.Template) { template.DNSNames = nil })
	other := changed(func(*pki.Template) {})
	pem := func(parts ...[]byte) func() (*credential.Inspection, error) {
		return func() (*credential.Inspection, error) {
			return looked(credential.MaterialOfCertificates("f.pem", slices.Concat(parts...)))
		}
	}
	secretOf := func(data map[string][]byte) func() (*credential.Inspection, error) {
		return func() (*credential.Inspection, error) {
			return looked(credential.MaterialOfSecret(&corev1.Secret{Data: data}))
		}
	}
	tests := map[string]struct {
		inspect func() (*credential.Inspection, error)
		want    []credential.Reason
		refused bool
	}{
		"another key": {
			pem(other.KeyPEM, client.CertPEM, issuing.CertPEM),
			[]credential.Reason{credential.PrivateKeyMismatch},
			true,
		},
		"the leaf behind its issuer": {
			pem(client.KeyPEM, issuing.CertPEM, client.CertPEM),
			[]credential.Reason{
				credential.PrivateKeyMismatch,
				credential.NotForClientAuth,
				credential.ChainIncomplete,
				credential.NoSubjectAltName,
			},
			true,
		},
		"the intermediate is missing": {
			pem(client.KeyPEM, client.CertPEM, root.CertPEM),
			[]credential.Reason{credential.ChainIncomplete},
			false,
		},
		"the root before the intermediate": {
			pem(client.KeyPEM, client.CertPEM, root.CertPEM, issuing.CertPEM),
			[]credential.Reason{credential.ChainOutOfOrder},
			false,
		},
		"no names": {
			pem(nameless.CertPEM, issuing.CertPEM),
			[]credential.Reason{credential.NoSubjectAltName},
			false,
		},
		"a server's": {
			pem(server.CertPEM, issuing.CertPEM),
			[]credential.Reason{credential.NotForClientAuth},
			true,
		},
		"expired": {
			pem(expired.CertPEM, issuing.CertPEM),
			[]credential.Reason{credential.CertificateExpired},
			true,
		},
		"an encrypted key": {
			pem(block("ENCRYPTED PRIVATE KEY", []byte{1}), client.CertPEM, issuing.CertPEM),
			[]credential.Reason{credential.PrivateKeyUnreadable},
			true,
		},
		"a Secret without the CA": {
			secretOf(map[string][]byte{"cert": slices.Concat(client.CertPEM, issuing.CertPEM), "key": client.KeyPEM}),
			[]credential.Reason{credential.ServerCAMissing},
			false,
		},
		"a Secret whose CA can't be read": {
			secretOf(
				map[string][]byte{
					"cert":   slices.Concat(client.CertPEM, issuing.CertPEM),
					"key":    client.KeyPEM,
					"cacert": []byte("x"),
				},
			),
			[]credential.Reason{credential.ServerCAUnreadable},
			true,
		},
		"a Secret with nothing to read": {
			secretOf(map[string][]byte{"cert": []byte("x"), "key": []byte("x")}),
			[]credential.Reason{
				credential.CertificateUnreadable,
				credential.PrivateKeyUnreadable,
				credential.ServerCAMissing,
			},
			true,
		},
		"a PKCS#12 file with another key": {func() (*credential.Inspection, error) {
			return looked(
				credential.MaterialOfPKCS12(
					must[[]byte](t)(
						pkcs12.LegacyDES.WithRand(
							rand.Reader,
						).Encode(other.Key, client.Certificate, []*x509.Certificate{issuing.Certificate}, "x"),
					),
					"x",
				),
			)
		}, []credential.Reason{credential.PrivateKeyMismatch}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inspection, err := test.inspect()
			if err != nil {
				t.Fatal(err)
			}
			got := []credential.Reason{}
			for _, finding := range inspection.Findings {
				got = append(got, finding.Reason)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || inspection.Refused() != test.refused {
				t.Errorf("refused: %t, reasons (-want +got):\n%s", inspection.Refused(), diff)
			}
		})
	}
}

func TestInspectRefusesASecretThatIsNoCredential(t *testing.T) {
	_, err := credential.MaterialOfSecret(&corev1.Secret{Data: map[string][]byte{"password": []byte("x")}})
	var reasons []credential.Reason
	for _, problem := range problemsOf(t, err) {
		reasons = append(reasons, problem.Reason)
	}
	if diff := cmp.Diff([]credential.Reason{credential.LayoutUnknown}, reasons); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
