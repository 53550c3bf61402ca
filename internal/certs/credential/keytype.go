package credential

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
)

// requestAnother is the fix for a key that no conversion makes usable.
const requestAnother = "ask the issuer for a certificate with an RSA or ECDSA P-256 key"

// parseKey parses a private key. which names it, for messages about its size. problem completes a
// sentence about the key. It doesn't contain errors of parsers, which could contain the key.
func parseKey(which string, block *pem.Block) (key crypto.Signer, problem string) {
	if problem := checkKeySize(which, block); problem != "" {
		return nil, strings.TrimPrefix(problem, which+" ")
	}
	parsed, ok := parsePrivateKey(block)
	if !ok {
		return nil, whyUnusable(block)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, agreementOnly
	}
	return signer, ""
}

const agreementOnly = "cannot sign, it is for key agreement only: a TLS client needs an RSA or ECDSA key"

// whyUnusable describes a private key that crypto/x509 doesn't parse: by its type, if that is the
// reason, and otherwise by the structure that it should have.
func whyUnusable(block *pem.Block) string {
	switch block.Type {
	case "DSA PRIVATE KEY":
		return "is a DSA key, which TLS 1.3 and the sidecar don't support: " + requestAnother
	case pkcs8Block:
		var key struct {
			Version   int
			Algorithm pkix.AlgorithmIdentifier
			Key       []byte
		}
		if _, err := asn1.Unmarshal(block.Bytes, &key); err != nil {
			return unreadableAs("PKCS#8 (BEGIN PRIVATE KEY)")
		}
		if why := unusableType(key.Algorithm); why != "" {
			return why
		}
		return unreadableAs("PKCS#8 (BEGIN PRIVATE KEY)")
	case sec1Block:
		var key struct {
			Version    int
			Key        []byte
			Parameters asn1.RawValue `asn1:"optional,explicit,tag:0"`
		}
		if _, err := asn1.Unmarshal(block.Bytes, &key); err == nil && len(key.Parameters.Bytes) > 0 {
			var curve asn1.RawValue
			if _, err := asn1.Unmarshal(key.Parameters.Bytes, &curve); err == nil {
				if why := unusableCurve(curve); why != "" {
					return why
				}
			}
		}
		return unreadableAs("SEC1 (BEGIN EC PRIVATE KEY)")
	case pkcs1Block:
		return unreadableAs("PKCS#1 (BEGIN RSA PRIVATE KEY)")
	default:
		return "is of an unknown kind: store it as PKCS#8 (BEGIN PRIVATE KEY)"
	}
}

func unreadableAs(format string) string {
	return "cannot be read: its content is not a valid key in " + format + "; write it again (openssl pkey -in FILE " +
		"-out NEW), and if OpenSSL can't read it either, request a new key and certificate"
}

// unusableType describes a type of key that can't be used. It returns "" for other types. The
// sidecar is BoringSSL, which supports RSA, ECDSA on NIST curves and Ed25519.
func unusableType(algorithm pkix.AlgorithmIdentifier) string {
	const unsupported = ", which the sidecar doesn't support: " + requestAnother
	switch name := algorithm.Algorithm.String(); name {
	case "1.2.840.113549.1.1.1", "1.3.101.112":
		return ""
	case "1.2.840.10045.2.1":
		return unusableCurve(algorithm.Parameters)
	case "1.2.840.113549.1.1.10":
		return "is an RSASSA-PSS key" + unsupported
	case "1.2.840.113549.1.1.7":
		return "is an RSAES-OAEP key, which can't sign: " + requestAnother
	case "1.3.101.110", "1.3.101.111", "1.3.132.1.12", "1.2.840.113549.1.3.1", "1.2.840.10046.2.1":
		return agreementOnly
	case "1.3.101.113":
		return "is an Ed448 key" + unsupported
	case "1.2.840.10040.4.1":
		return "is a DSA key, which TLS 1.3 and the sidecar don't support: " + requestAnother
	case "2.16.840.1.101.3.4.3.17", "2.16.840.1.101.3.4.3.18", "2.16.840.1.101.3.4.3.19":
		return "is an ML-DSA key" + unsupported
	default:
		return "is a key of the type " + name + unsupported
	}
}

// unusableCurve describes the parameters of an ECDSA key (RFC 5480 §2.1.1) that can't be used. It
// returns "" for a NIST curve.
func unusableCurve(parameters asn1.RawValue) string {
	const unsupported = ", which the sidecar doesn't support: " + requestAnother
	var name asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(parameters.FullBytes, &name); err == nil {
		curve, known := curves()[name.String()]
		switch {
		case known && curve == "":
			return ""
		case known:
			return "is an ECDSA key on the curve " + curve + unsupported
		default:
			return "is an ECDSA key on the curve " + name.String() + unsupported
		}
	}
	var explicit struct {
		Version int
		Field   struct {
			Type  asn1.ObjectIdentifier
			Prime *big.Int
		}
	}
	if _, err := asn1.Unmarshal(parameters.FullBytes, &explicit); err != nil {
		return "is an ECDSA key without the name of its curve: " + requestAnother
	}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		if explicit.Field.Prime.Cmp(curve.Params().P) == 0 {
			return fmt.Sprintf("is an ECDSA key with explicit parameters in place of the name of its curve (%s), which "+
				"RFC 5480 forbids: write it with the name (openssl ec -in FILE -param_enc named_curve -out NEW), and if the "+
				"certificate has explicit parameters too, request a new one", curve.Params().Name)
		}
	}
	return "is an ECDSA key with explicit parameters in place of the name of its curve" + unsupported
}

// curves are the names of curves by their identifiers, as OpenSSL writes them, and "" for those
// that are supported.
func curves() map[string]string {
	known := map[string]string{
		"1.3.132.0.33": "", "1.2.840.10045.3.1.7": "", "1.3.132.0.34": "", "1.3.132.0.35": "",
		"1.3.132.0.10": "secp256k1", "1.3.132.0.32": "secp224k1", "1.3.132.0.31": "secp192k1",
		"1.2.840.10045.3.1.1": "P-192 (prime192v1)", "1.2.156.10197.1.301": "SM2",
		"1.3.132.0.1": "sect163k1", "1.3.132.0.15": "sect163r2", "1.3.132.0.26": "sect233k1",
		"1.3.132.0.27": "sect233r1", "1.3.132.0.16": "sect283k1", "1.3.132.0.17": "sect283r1",
		"1.3.132.0.36": "sect409k1", "1.3.132.0.37": "sect409r1", "1.3.132.0.38": "sect571k1",
		"1.3.132.0.39": "sect571r1",
	}
	// https://www.rfc-editor.org/rfc/rfc5639#appendix-A
	for i, size := range []int{160, 192, 224, 256, 320, 384, 512} {
		known[fmt.Sprintf("1.3.36.3.3.2.8.1.1.%d", 2*i+1)] = fmt.Sprintf("brainpoolP%dr1", size)
		known[fmt.Sprintf("1.3.36.3.3.2.8.1.1.%d", 2*i+2)] = fmt.Sprintf("brainpoolP%dt1", size)
	}
	return known
}

// whyUnreadable describes a certificate that crypto/x509 doesn't parse: by the type of its key, if
// that is the reason, and otherwise by the error of the parser.
func whyUnreadable(der []byte, err error) string {
	var certificate struct {
		TBS struct {
			Version   int `asn1:"optional,explicit,default:0,tag:0"`
			Serial    *big.Int
			Signature pkix.AlgorithmIdentifier
			Issuer    asn1.RawValue
			Validity  asn1.RawValue
			Subject   asn1.RawValue
			PublicKey struct {
				Algorithm pkix.AlgorithmIdentifier
				Key       asn1.BitString
			}
		}
	}
	if _, parsing := asn1.Unmarshal(der, &certificate); parsing == nil {
		if why := unusableType(certificate.TBS.PublicKey.Algorithm); why != "" {
			subject := Quote(DistinguishedName(certificate.TBS.Subject.FullBytes))
			return fmt.Sprintf("(subject %s) can't be read: its key %s", subject, why)
		}
	}
	return "can't be read: " + Printable(err.Error())
}
