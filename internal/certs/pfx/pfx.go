// Package pfx reads PKCS#12 files (RFC 7292), in DER and in the BER that tools write. It returns
// the private keys and certificates in the file, and doesn't choose among them.
//
// RFC 7292 §3.1 allows BER. NSS (https://github.com/nss-dev/nss/blob/master/lib/pkcs12/p12e.c)
// writes it, for Firefox, Thunderbird and pk12util.
package pfx

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"unicode/utf16"
)

// Contents are the private keys and certificates in a file, each in the order of the file.
type Contents struct {
	// Keys are in PKCS#8, decrypted.
	Keys []Item
	// Certificates are X.509 certificates. They are not parsed.
	Certificates []Item
	// Skipped names the parts that Read can't read and that a file can have next to a key. OpenSSL
	// skips the same ones.
	Skipped []string
}

// Item is a key or a certificate in DER, with its attributes.
type Item struct {
	DER []byte
	// Name is the friendlyName, which keytool calls the alias. It can be "".
	Name string
	// ID is the localKeyId, which is equal for a key and its certificate.
	ID []byte
}

// file is the PFX of RFC 7292 §4.
type file struct {
	Version  int
	AuthSafe contentInfo
	MAC      asn1.RawValue `asn1:"optional"`
}

// contentInfo is a ContentInfo of RFC 5652 §3. Content.Bytes is the value.
type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"tag:0,explicit,optional"`
}

// safeBag is a SafeBag of RFC 7292 §4.2.
type safeBag struct {
	ID         asn1.ObjectIdentifier
	Value      asn1.RawValue `asn1:"tag:0,explicit"`
	Attributes []attribute   `asn1:"set,optional"`
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values asn1.RawValue `asn1:"set"`
}

// encryptedKey is an EncryptedPrivateKeyInfo of RFC 5208 §6.
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// plainKey is a PrivateKeyInfo of RFC 5208 §5.
type plainKey struct {
	Version   int
	Algorithm pkix.AlgorithmIdentifier
	Key       []byte
}

// encryptedData is an EncryptedData of RFC 5652 §8. The tag of the content is IMPLICIT.
type encryptedData struct {
	Version int
	Content struct {
		Type      asn1.ObjectIdentifier
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte `asn1:"tag:0,optional"`
	}
}

type certBag struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue `asn1:"tag:0,explicit"`
}

// The types of contents (RFC 5652), bags (RFC 7292 §4.2) and attributes (RFC 2985 §5.5).
const (
	dataType          = "1.2.840.113549.1.7.1"
	signedDataType    = "1.2.840.113549.1.7.2"
	envelopedDataType = "1.2.840.113549.1.7.3"
	encryptedDataType = "1.2.840.113549.1.7.6"

	keyBag          = "1.2.840.113549.1.12.10.1.1"
	shroudedKeyBag  = "1.2.840.113549.1.12.10.1.2"
	certificateBag  = "1.2.840.113549.1.12.10.1.3"
	crlBag          = "1.2.840.113549.1.12.10.1.4"
	secretBag       = "1.2.840.113549.1.12.10.1.5"
	safeContentsBag = "1.2.840.113549.1.12.10.1.6"

	x509Type         = "1.2.840.113549.1.9.22.1"
	friendlyNameType = "1.2.840.113549.1.9.20"
	localKeyIDType   = "1.2.840.113549.1.9.21"
)

// DecryptKey decrypts an EncryptedPrivateKeyInfo in DER, which is a PEM block of the type ENCRYPTED
// PRIVATE KEY, and returns the key in PKCS#8. The limit and the errors are those of [Read].
func DecryptKey(der []byte, text string, iterations int) ([]byte, error) {
	r := &reader{passwords: encodings(text), rounds: &budget{limit: iterations}}
	bag := safeBag{Value: asn1.RawValue{Bytes: der}}
	if err := r.shroudedKey(bag, &LayoutError{Where: "the file"}); err != nil {
		return nil, err
	}
	return r.contents.Keys[0].DER, nil
}

// maxItems is the maximum number of keys and certificates. It limits what a caller parses.
const maxItems = 1000

// reader is the state of [Read].
type reader struct {
	// passwords are the encodings of the password to try. Those that the MAC verified come first.
	passwords []password
	// verified reports whether the file has a MAC, and it matches.
	verified bool
	rounds   *budget
	contents Contents
}

// Read reads a file in DER, as [ToDER] returns it, with its password, which can be empty. It
// verifies the MAC, if the file has one, over the original bytes. iterations is the maximum number
// of iterations of all key derivations together.
//
// The error is a [*PasswordError], [*UnsupportedError], [*LayoutError] or [*IterationsError]. It
// contains nothing that was encrypted.
func Read(der []byte, text string, iterations int) (Contents, error) {
	r := &reader{passwords: encodings(text), rounds: &budget{limit: iterations}}
	var outer file
	if !unmarshal(der, &outer) {
		return Contents{}, &LayoutError{Where: "the outer structure", Why: "PFX"}
	}
	var authSafe []byte
	switch kind := outer.AuthSafe.Type.String(); {
	case kind == signedDataType:
		return Contents{}, &UnsupportedError{What: "a signature of a certificate in place of a MAC (signedData)"}
	case kind != dataType || !unmarshal(outer.AuthSafe.Content.Bytes, &authSafe):
		return Contents{}, &LayoutError{Where: "the outer content", Why: "AuthenticatedSafe"}
	}
	if len(outer.MAC.FullBytes) > 0 {
		if err := r.verify(outer.MAC.FullBytes, authSafe); err != nil {
			return Contents{}, err
		}
	}
	var contents []contentInfo
	if !unmarshal(normalize(authSafe), &contents) {
		return Contents{}, &LayoutError{Where: "the list of contents", Why: "AuthenticatedSafe", Verified: r.verified}
	}
	for i, content := range contents {
		if err := r.content(i+1, content); err != nil {
			return Contents{}, err
		}
	}
	return r.contents, nil
}

// content reads a content of the AuthenticatedSafe. number is for messages.
func (r *reader) content(number int, content contentInfo) error {
	layout := &LayoutError{Where: fmt.Sprintf("content %d of the file", number), Verified: r.verified}
	switch content.Type.String() {
	case dataType:
		var octets []byte
		var bags []safeBag
		if !unmarshal(content.Content.Bytes, &octets) || !unmarshal(normalize(octets), &bags) {
			return layout
		}
		return r.bags(bags, layout, 0)
	case encryptedDataType:
		var encrypted encryptedData
		if !unmarshal(content.Content.Bytes, &encrypted) {
			return layout
		}
		var bags []safeBag
		err := r.decrypt(layout.Where, encrypted.Content.Algorithm, encrypted.Content.Data,
			func(plain []byte) bool { return unmarshal(normalize(plain), &bags) })
		if err != nil {
			return err
		}
		return r.bags(bags, layout, 0)
	case envelopedDataType:
		r.skip("a part that is encrypted for the key of a recipient (envelopedData)")
	default:
		r.skip("a content of the type " + content.Type.String())
	}
	return nil
}

// bags reads the bags of a SafeContents.
func (r *reader) bags(bags []safeBag, layout *LayoutError, depth int) error {
	if depth > maxDepth {
		return &UnsupportedError{What: fmt.Sprintf("contents nested more than %d times", maxDepth)}
	}
	for _, bag := range bags {
		if err := r.bag(bag, layout, depth); err != nil {
			return err
		}
		if len(r.contents.Keys)+len(r.contents.Certificates)+len(r.contents.Skipped) > maxItems {
			return &UnsupportedError{What: fmt.Sprintf("more than %d keys and certificates", maxItems)}
		}
	}
	return nil
}

func (r *reader) bag(bag safeBag, layout *LayoutError, depth int) error {
	switch bag.ID.String() {
	case keyBag:
		var key plainKey
		if !unmarshal(bag.Value.Bytes, &key) {
			return layout.within("a private key", "keyBag")
		}
		r.contents.Keys = append(r.contents.Keys, bag.item(bag.Value.Bytes))
	case shroudedKeyBag:
		return r.shroudedKey(bag, layout)
	case certificateBag:
		return r.certificate(bag, layout)
	case safeContentsBag:
		var bags []safeBag
		if !unmarshal(bag.Value.Bytes, &bags) {
			return layout.within("nested contents", "SafeContents")
		}
		return r.bags(bags, layout, depth+1)
	case crlBag:
		r.skip("a revocation list")
	case secretBag:
		r.skip("a secret key")
	default:
		r.skip("a bag of the type " + bag.ID.String())
	}
	return nil
}

func (r *reader) certificate(bag safeBag, layout *LayoutError) error {
	var certificate certBag
	var der []byte
	switch {
	case !unmarshal(bag.Value.Bytes, &certificate):
		return layout.within("a certificate", "certBag")
	case certificate.Type.String() != x509Type:
		r.skip("a certificate that is not X.509")
	case !unmarshal(certificate.Value.Bytes, &der):
		return layout.within("a certificate", "certBag")
	default:
		r.contents.Certificates = append(r.contents.Certificates, bag.item(der))
	}
	return nil
}

func (r *reader) shroudedKey(bag safeBag, layout *LayoutError) error {
	var shrouded encryptedKey
	if !unmarshal(bag.Value.Bytes, &shrouded) {
		return layout.within("an encrypted private key", "pkcs8ShroudedKeyBag")
	}
	var der []byte
	err := r.decrypt("the private key", shrouded.Algorithm, shrouded.Data, func(plain []byte) bool {
		var key plainKey
		der = normalize(plain)
		return unmarshal(der, &key)
	})
	if err == nil {
		r.contents.Keys = append(r.contents.Keys, bag.item(der))
	}
	return err
}

func (r *reader) skip(what string) {
	r.contents.Skipped = append(r.contents.Skipped, what)
}

// item returns the item of a bag. Attributes that are unreadable are left out.
func (b safeBag) item(der []byte) Item {
	item := Item{DER: der}
	for _, attribute := range b.Attributes {
		var value asn1.RawValue
		if !unmarshal(attribute.Values.Bytes, &value) {
			continue
		}
		switch attribute.Type.String() {
		case friendlyNameType:
			if value.Tag == asn1.TagBMPString {
				item.Name = decodeBMP(value.Bytes)
			}
		case localKeyIDType:
			item.ID = value.Bytes
		}
	}
	return item
}

func decodeBMP(text []byte) string {
	var units []uint16
	for ; len(text) > 1; text = text[2:] {
		units = append(units, uint16(text[0])<<8|uint16(text[1]))
	}
	return string(utf16.Decode(units))
}

// normalize returns content in DER, or unchanged if it isn't BER as [ToDER] reads it.
func normalize(content []byte) []byte {
	der, rest, err := ToDER(content)
	if err != nil || len(rest) > 0 {
		return content
	}
	return der
}

// unmarshal reads a whole value.
func unmarshal(der []byte, value any) bool {
	rest, err := asn1.Unmarshal(der, value)
	return err == nil && len(rest) == 0
}
