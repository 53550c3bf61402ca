package pfx

import (
	"crypto/x509/pkix"
	"encoding/asn1"
)

// contentInfo is a ContentInfo of RFC 5652 §3. Content.Bytes is the value.
type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"tag:0,explicit,optional"`
}

// safeBag is a SafeBag of RFC 7292 §4.2.
type safeBag struct {
	ID         asn1.ObjectIdentifier
	Value      asn1.RawValue   `asn1:"tag:0,explicit"`
	Attributes []asn1.RawValue `asn1:"set,optional"`
}

// encryptedKey is an EncryptedPrivateKeyInfo of RFC 5208 §6.
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// encryptedData is an EncryptedData of RFC 5652 §8.
type encryptedData struct {
	Version int
	Content struct {
		Type      asn1.ObjectIdentifier
		Algorithm pkix.AlgorithmIdentifier
		Data      asn1.RawValue `asn1:"optional"`
	}
}

// ContentIterations returns the highest iteration count in the contents of a file in DER that is
// readable without the password: those of encrypted contents, and those of encrypted keys outside
// encrypted contents. It returns 0 if the structure is unreadable.
func ContentIterations(der []byte) int {
	var pfx file
	var authSafe data
	var contents []contentInfo
	if !unmarshal(der, &pfx) || !unmarshal(pfx.AuthSafe.FullBytes, &authSafe) ||
		!unmarshal(authSafe.Content, &contents) {
		return 0
	}
	most := 0
	for _, content := range contents {
		var octets []byte
		var encrypted encryptedData
		switch content.Type.String() {
		case "1.2.840.113549.1.7.1":
			if unmarshal(content.Content.Bytes, &octets) {
				most = max(most, bagIterations(octets))
			}
		case "1.2.840.113549.1.7.6":
			if unmarshal(content.Content.Bytes, &encrypted) {
				most = max(most, algorithmIterations(encrypted.Content.Algorithm))
			}
		}
	}
	return most
}

func bagIterations(der []byte) int {
	var bags []safeBag
	if !unmarshal(der, &bags) {
		return 0
	}
	most := 0
	for _, bag := range bags {
		var key encryptedKey
		if bag.ID.String() == "1.2.840.113549.1.12.10.1.2" && unmarshal(bag.Value.Bytes, &key) {
			most = max(most, algorithmIterations(key.Algorithm))
		}
	}
	return most
}

// algorithmIterations returns the iteration count of PBES2 (RFC 8018 appendix A.4) or of an
// algorithm in RFC 7292 appendix C.
func algorithmIterations(algorithm pkix.AlgorithmIdentifier) int {
	if algorithm.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}) {
		// The parameters of PBES2 begin like those of PBMAC1.
		return pbmac1Iterations(algorithm.Parameters)
	}
	var parameters struct {
		Salt       []byte
		Iterations int
	}
	if !unmarshal(algorithm.Parameters.FullBytes, &parameters) {
		return 0
	}
	return parameters.Iterations
}

func unmarshal(der []byte, value any) bool {
	_, err := asn1.Unmarshal(der, value)
	return err == nil
}
