package credential_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"mtls.egress/webhook/internal/certs/pfx"
)

// The writer of layouts that no tool here writes. Values are in DER.

func tlv(identifier byte, contents ...[]byte) []byte {
	content := slices.Concat(contents...)
	class, tag := int(identifier>>6), int(identifier&0x1f)
	value, _ := asn1.Marshal(
		asn1.RawValue{Class: class, Tag: tag, IsCompound: identifier&0x20 != 0, Bytes: content})
	return value
}

func seq(contents ...[]byte) []byte  { return tlv(0x30, contents...) }
func set(contents ...[]byte) []byte  { return tlv(0x31, contents...) }
func wrap(contents ...[]byte) []byte { return tlv(0xa0, contents...) }
func octets(content []byte) []byte   { return tlv(0x04, content) }

func number(n int) []byte {
	value, _ := asn1.Marshal(n)
	return value
}

func oid(text string) []byte {
	var identifier asn1.ObjectIdentifier
	for arc := range strings.SplitSeq(text, ".") {
		n, _ := strconv.Atoi(arc)
		identifier = append(identifier, n)
	}
	value, _ := asn1.Marshal(identifier)
	return value
}

func unicode16(text string, zeros int) []byte {
	var encoded []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		encoded = append(encoded, byte(unit>>8), byte(unit))
	}
	return append(encoded, make([]byte, zeros)...)
}

const (
	ownTypes = "1.2.840.113549.1."
	hmacs    = "1.2.840.113549.2."
	aesTypes = "2.16.840.1.101.3.4.1."
)

func bagOf(kind string, value []byte, attributes ...[]byte) []byte {
	parts := [][]byte{oid(ownTypes + "12.10.1." + kind), wrap(value)}
	if len(attributes) > 0 {
		parts = append(parts, set(attributes...))
	}
	return seq(parts...)
}

func named(name string) []byte {
	return seq(oid(ownTypes+"9.20"), set(tlv(0x1e, unicode16(name, 0))))
}

func localID(id string) []byte { return seq(oid(ownTypes+"9.21"), set(octets([]byte(id)))) }

// windows are the attributes of a key that Windows exports: the provider, and that it is a key of
// the machine.
func windows() [][]byte {
	return [][]byte{
		localID("\x01\x00\x00\x00"), named("te-7c2f"), seq(oid("1.3.6.1.4.1.311.17.1"), set(tlv(0x1e,
			unicode16("Microsoft Software Key Storage Provider", 0)))), seq(oid("1.3.6.1.4.1.311.17.2"), set()),
	}
}

func certBagOf(der []byte, attributes ...[]byte) []byte {
	return bagOf("3", seq(oid(ownTypes+"9.22.1"), wrap(octets(der))), attributes...)
}

// encryption is a password-based encryption: its algorithm, and its key and IV of a password.
type encryption struct {
	algorithm []byte
	open      func(password string) (cipher.Block, []byte)
}

func (e encryption) seal(plain []byte, password string) []byte {
	block, iv := e.open(password)
	length := block.BlockSize() - len(plain)%block.BlockSize()
	padded := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(length)}, length)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	return padded
}

func (e encryption) shroud(key []byte, password string, attributes ...[]byte) []byte {
	return bagOf("2", seq(e.algorithm, octets(e.seal(key, password))), attributes...)
}

func (e encryption) content(password string, bags ...[]byte) []byte {
	return seq(oid(ownTypes+"7.6"), wrap(seq(number(0), seq(oid(ownTypes+"7.1"), e.algorithm,
		tlv(0x80, e.seal(seq(bags...), password))))))
}

func plain(bags ...[]byte) []byte {
	return seq(oid(ownTypes+"7.1"), wrap(octets(seq(bags...))))
}

// modern is PBES2 with AES-256-CBC. The parameters of PBKDF2 after the iterations are given.
func modern(hash crypto.Hash, rounds int, parameters ...[]byte) encryption {
	salt, iv := []byte("salt of PBKDF2.."), []byte("initialization..")
	kdf := seq(oid(ownTypes+"5.12"), seq(append([][]byte{octets(salt), number(rounds)}, parameters...)...))
	return encryption{
		algorithm: seq(oid(ownTypes+"5.13"), seq(kdf, seq(oid(aesTypes+"42"), octets(iv)))),
		open: func(password string) (cipher.Block, []byte) {
			key, _ := pbkdf2.Key(hash.New, password, salt, max(1, rounds), 32)
			block, _ := aes.NewCipher(key)
			return block, iv
		},
	}
}

func prf(name string) []byte { return seq(oid(hmacs+name), tlv(0x05)) }

func ordinary() encryption { return modern(crypto.SHA256, 2048, prf("9")) }

// old is 3DES of RFC 7292. encode encodes the password.
func old(encode func(string) []byte) encryption {
	salt := []byte("saltsalt")
	return encryption{
		algorithm: seq(oid(ownTypes+"12.1.3"), seq(octets(salt), number(2048))),
		open: func(password string) (cipher.Block, []byte) {
			key := pfx.Derive(crypto.SHA1, pfx.ForKey, encode(password), salt, 2048, 24)
			block, _ := des.NewTripleDESCipher(key)
			return block, pfx.Derive(crypto.SHA1, pfx.ForIV, encode(password), salt, 2048, 8)
		},
	}
}

func standard(password string) []byte { return unicode16(password, 2) }

// bytewise encodes a password as OpenSSL before 1.1.0 did.
func bytewise(password string) []byte {
	var encoded []byte
	for _, octet := range []byte(password) {
		encoded = append(encoded, 0, octet)
	}
	return append(encoded, 0, 0)
}

func none(string) []byte { return nil }

// pfxOf returns a file with contents and with the MAC that seal makes of them, or without one.
func pfxOf(seal func(content []byte) []byte, contents ...[]byte) []byte {
	content := seq(contents...)
	parts := [][]byte{number(3), seq(oid(ownTypes+"7.1"), wrap(octets(content)))}
	if seal != nil {
		parts = append(parts, seal(content))
	}
	return seq(parts...)
}

func hmacOf(hash crypto.Hash, key, content []byte) []byte {
	code := hmac.New(hash.New, key)
	code.Write(content)
	return code.Sum(nil)
}

// sealed makes a MAC with SHA-256 and an encoded password. rounds of 1 are omitted, as the default.
func sealed(password []byte, rounds int) func([]byte) []byte {
	return func(content []byte) []byte {
		salt := []byte("saltsalt")
		key := pfx.Derive(crypto.SHA256, pfx.ForMAC, password, salt, rounds, 32)
		parts := [][]byte{
			seq(seq(oid("2.16.840.1.101.3.4.2.1"), tlv(0x05)), octets(hmacOf(crypto.SHA256, key, content))),
			octets(salt),
		}
		if rounds != 1 {
			parts = append(parts, number(rounds))
		}
		return seq(parts...)
	}
}

// pbmac1 makes a MAC of RFC 9579. The parameters of PBKDF2 after the iterations are given.
func pbmac1(password string, kdfHash, hash crypto.Hash, scheme []byte, size int,
	parameters ...[]byte) func([]byte) []byte {
	return func(content []byte) []byte {
		salt := []byte("salt of PBMAC1..")
		key, _ := pbkdf2.Key(kdfHash.New, password, salt, 2048, size)
		kdf := seq(oid(ownTypes+"5.12"), seq(append([][]byte{octets(salt), number(2048)}, parameters...)...))
		return seq(
			seq(seq(oid(ownTypes+"5.14"), seq(kdf, scheme)), octets(hmacOf(hash, key, content))), octets(salt),
			number(1))
	}
}

// builtStores are files of layouts that exist, and of hostile ones.
func builtStores(t testing.TB) map[string]stored {
	t.Helper()
	blocks := pemBlocks(t, "testdata/keystores/keystore.pem")
	key, leaf, issuing, root := blocks[0], blocks[1], blocks[2], blocks[3]
	const secret = "changeit"
	e, mac := ordinary(), sealed(standard(secret), 2048)
	certificates := [][]byte{certBagOf(leaf, localID("1")), certBagOf(issuing), certBagOf(root)}
	shrouded := plain(e.shroud(key, secret, localID("1")))
	encrypted := e.content(secret, certificates...)
	nested := func(levels int, bags ...[]byte) []byte {
		for range levels {
			bags = [][]byte{bagOf("6", seq(bags...))}
		}
		return bags[0]
	}
	with := func(extra ...[]byte) []byte { return pfxOf(mac, append([][]byte{shrouded, encrypted}, extra...)...) }
	foreign := bagOf("4", seq(oid(ownTypes+"9.23.1"), wrap(octets([]byte{0x30, 0}))))
	aesCBC := seq(oid(aesTypes+"42"), octets(make([]byte, 16)))
	pbkdf := seq(oid(ownTypes+"5.12"), seq(octets([]byte("salt")), number(2048), prf("9")))
	prfs := map[string]crypto.Hash{"7": crypto.SHA1, "8": crypto.SHA224, "9": crypto.SHA256, "10": crypto.SHA384,
		"11": crypto.SHA512}
	names := map[string]string{"7": "sha1", "8": "sha224", "9": "sha256", "10": "sha384", "11": "sha512"}
	anotherKey := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(must[any](t)(x509.ParsePKCS8PrivateKey(key))))
	renamed := bytes.Replace(key, oid("1.2.840.10045.2.1"), oid("1.2.840.10045.2.2"), 1)
	pkcs8 := func(algorithm []byte) []byte { return seq(number(0), algorithm, octets([]byte("key"))) }
	only := func(bags ...[]byte) []byte { return pfxOf(mac, plain(bags...), encrypted) }

	files := map[string][]byte{
		"built: Windows, the certificates before the key": pfxOf(mac, e.content(secret, certificates...),
			plain(e.shroud(key, secret, windows()...))),
		"built: Windows, with its attributes": pfxOf(mac, plain(e.shroud(key, secret, windows()...)),
			e.content(secret, certBagOf(leaf, localID("\x01\x00\x00\x00")), certBagOf(issuing), certBagOf(root))),
		"built: Windows, attributes in the key": pfxOf(mac, plain(e.shroud(append(seq(bytes.Clone(inner(key)),
			wrap(seq(oid("2.5.29.15"), set(tlv(0x03, []byte{0, 0x10}))))), nil...), secret)), encrypted),
		"built: a content for each certificate": pfxOf(mac, shrouded, e.content(secret, certificates[0]),
			e.content(secret, certificates[1]), e.content(secret, certificates[2])),
		"built: everything in one content": pfxOf(mac, e.content(secret, append(certificates,
			bagOf("1", key))...)),
		"built: everything in one content, shrouded": pfxOf(mac, e.content(secret, append(certificates,
			e.shroud(key, secret))...)),
		"built: everything in plain text": pfxOf(mac, plain(append(certificates, bagOf("1", key))...)),
		"built: ten contents":             with(slices.Repeat([][]byte{plain(certificates[1])}, 8)...),
		"built: an empty content":         with(plain()),
		"built: nested once": pfxOf(mac, shrouded, e.content(secret, nested(1,
			certificates...))),
		"built: nested five times, with the key": pfxOf(mac, plain(nested(5, append(certificates,
			bagOf("1", key))...))),
		"built: nested beyond reason": pfxOf(mac, plain(nested(40, append(certificates,
			bagOf("1", key))...))),
		"built: a revocation list":            with(plain(foreign)),
		"built: a bag of an unknown type":     with(plain(bagOf("99", seq()))),
		"built: a content of an unknown type": with(seq(oid("1.2.3.4"), wrap(seq()))),
		"built: a content for a recipient": with(seq(oid(ownTypes+"7.3"), wrap(seq(number(0),
			octets(make([]byte, 200)))))),
		"built: an SDSI certificate": with(plain(bagOf("3", seq(oid(ownTypes+"9.22.2"),
			wrap(tlv(0x16, []byte("AA"))))))),
		"built: the same key twice":               with(plain(bagOf("1", key))),
		"built: the same key twice, encoded anew": with(plain(bagOf("1", anotherKey))),
		"built: other local IDs": pfxOf(mac, plain(e.shroud(key, secret, localID("9"))),
			encrypted),
		"built: a MAC with the default of iterations": pfxOf(sealed(standard(secret), 1), shrouded, encrypted),
		"built: a MAC over an empty password of no bytes": pfxOf(sealed(nil, 2048), plain(old(none).shroud(key, "")),
			old(none).content("", certificates...)),
		"built: no MAC, an empty password of no bytes": pfxOf(nil, plain(old(none).shroud(key, "")),
			old(none).content("", certificates...)),
		"built: PBKDF2 with the length of its key": pfxOf(mac, plain(modern(crypto.SHA1, 2048,
			number(32)).shroud(key, secret)),
			encrypted),
		"built: no MAC, nested": pfxOf(nil, e.content(secret, nested(2, append(certificates, e.shroud(key,
			secret))...))),

		"built: signed in place of a MAC": seq(number(3), seq(oid(ownTypes+"7.2"), wrap(seq(number(1),
			octets(make([]byte, 200)))))),
		"built: only a content for a recipient": pfxOf(mac, seq(oid(ownTypes+"7.3"), wrap(seq(number(0),
			octets(make([]byte, 200)))))),
		"built: two keys without names":           with(plain(bagOf("1", rsaKey(t)))),
		"built: a key of another password":        pfxOf(mac, plain(e.shroud(key, "another")), encrypted),
		"built: certificates of another password": pfxOf(mac, shrouded, e.content("another", certificates...)),
		"built: a MAC of an unknown digest": pfxOf(func([]byte) []byte {
			return seq(seq(seq(oid("1.2.3.4")), octets([]byte("mac"))), octets([]byte("salt")), number(1))
		}, shrouded, encrypted),
		"built: a malformed MAC": pfxOf(func([]byte) []byte { return seq(number(1)) }, shrouded, encrypted),
		"built: a negative number of iterations": pfxOf(func([]byte) []byte {
			return seq(seq(seq(oid("2.16.840.1.101.3.4.2.1"), tlv(0x05)), octets(make([]byte, 32))),
				octets([]byte("salt")), number(-1))
		}, shrouded, encrypted),
		"built: too many iterations for the key": pfxOf(mac, plain(seal(modern(crypto.SHA256, 1<<30,
			prf("9")))), encrypted),
		"built: too many iterations together": pfxOf(mac, plain(e.shroud(key, secret)),
			e.content(secret, certificates...), sealContent(modern(crypto.SHA256, 4_999_000, prf("9")))),
		"built: a PRF of SHA-512/256": pfxOf(mac, plain(seal(modern(crypto.SHA256, 2048, prf("13")))), encrypted),
		"built: a PRF of GOST": pfxOf(mac, plain(seal(modern(crypto.SHA256, 2048,
			seq(oid("1.2.643.7.1.1.4.2"))))), encrypted),
		"built: a PRF nobody knows": pfxOf(mac, plain(seal(modern(crypto.SHA256, 2048,
			seq(oid("1.2.3.4"))))), encrypted),
		"built: a wrong length of the key of a cipher": pfxOf(mac, plain(seal(modern(crypto.SHA256, 2048,
			number(16), prf("9")))),
			encrypted),
		"built: scrypt": pfxOf(mac, plain(seal(pbes2(seq(oid("1.3.6.1.4.1.11591.4.11"),
			seq(octets([]byte("salt")), number(1<<14), number(8), number(1))), aesCBC))), encrypted),
		"built: AES-256-GCM": pfxOf(mac, plain(seal(pbes2(pbkdf,
			seq(oid(aesTypes+"46"), seq(octets(make([]byte, 12))))))), encrypted),
		"built: a cipher nobody knows": pfxOf(mac,
			plain(seal(encryption{algorithm: seq(oid(ownTypes + "5.99"))})), encrypted),
		"built: an initialization vector too short": pfxOf(mac, plain(seal(pbes2(pbkdf,
			seq(oid(aesTypes+"42"), octets(make([]byte, 14)))))), encrypted),
		"built: encrypted data of a broken length":     only(bagOf("2", seq(e.algorithm, octets(make([]byte, 17))))),
		"built: no encrypted data":                     only(bagOf("2", seq(e.algorithm, octets(nil)))),
		"built: an encrypted text for a key":           only(e.shroud([]byte("no key at all"), secret)),
		"built: a bag that is no sequence":             pfxOf(mac, plain(number(1)), encrypted),
		"built: a key that is no sequence":             only(bagOf("1", number(1))),
		"built: an encrypted key that is no sequence":  only(bagOf("2", number(1))),
		"built: a certificate that is no sequence":     pfxOf(mac, shrouded, plain(bagOf("3", number(1)))),
		"built: nested contents of another type":       pfxOf(mac, shrouded, plain(bagOf("6", number(1)))),
		"built: octets in place of a list of contents": pfxOf(mac, octets(make([]byte, 200))),
		"built: an encrypted content of another type":  pfxOf(mac, shrouded, seq(oid(ownTypes+"7.6"), wrap(number(1)))),
		"built: a certificate that can't be parsed": pfxOf(mac, shrouded, e.content(secret,
			certBagOf(leaf[:len(leaf)-9]))),
		"built: an intermediate that can't be parsed": pfxOf(mac, shrouded,
			e.content(secret, certificates[0], certBagOf(issuing[:len(issuing)-9]), certificates[2])),
		"built: a hundred certificates": pfxOf(mac, shrouded, e.content(secret,
			append(slices.Repeat(certificates[1:2], 99), certificates[0])...)),
		"built: a hundred and one certificates": pfxOf(mac, shrouded, e.content(secret,
			slices.Repeat(certificates[:1], 101)...)),
		"built: two thousand bags":             with(plain(slices.Repeat([][]byte{foreign}, 2000)...)),
		"built: an ML-DSA key":                 only(bagOf("1", pkcs8(seq(oid("2.16.840.1.101.3.4.3.17"))))),
		"built: a key of an unknown type":      only(bagOf("1", renamed)),
		"built: an EC key without a curve":     only(bagOf("1", pkcs8(seq(oid("1.2.840.10045.2.1"), tlv(0x05))))),
		"built: an EC key on an unknown curve": only(bagOf("1", pkcs8(seq(oid("1.2.840.10045.2.1"), oid("1.2.3.4"))))),
		"built: an RSA key of nonsense":        only(bagOf("1", pkcs8(seq(oid(ownTypes+"1.1"), tlv(0x05))))),
		"built: an OAEP key":                   only(bagOf("1", pkcs8(seq(oid(ownTypes+"1.7"), tlv(0x05))))),
		"built: a key too long": only(bagOf("1", seq(number(0), seq(oid(ownTypes+"1.1")),
			octets(make([]byte, 17<<10))))),
		"built: PBMAC1 without the length of its key": pfxOf(pbmac1(secret, crypto.SHA256, crypto.SHA256,
			prf("9"), 32, prf("9")),
			shrouded, encrypted),
		"built: PBMAC1 with a short key": pfxOf(pbmac1(secret, crypto.SHA256, crypto.SHA256, prf("9"), 4,
			number(4), prf("9")),
			shrouded, encrypted),
		"built: PBMAC1 with an unknown HMAC": pfxOf(pbmac1(secret, crypto.SHA256, crypto.SHA256, prf("13"), 32,
			number(32), prf("9")),
			shrouded, encrypted),
	}
	for identifier, hash := range prfs {
		m := modern(hash, 2048, prf(identifier))
		files["built: PRF "+names[identifier]] = pfxOf(mac, plain(m.shroud(key, secret)), m.content(secret,
			certificates...))
		files["built: PBMAC1 "+names[identifier]] = pfxOf(pbmac1(secret, hash, hash, prf(identifier), hash.Size(),
			number(hash.Size()), prf(identifier)), shrouded, encrypted)
	}
	stores := map[string]stored{}
	for name, content := range files {
		stores[name] = stored{content, secret}
		if strings.Contains(name, "empty password") {
			stores[name] = stored{content, ""}
		}
	}
	legacy := "Grüße"
	stores["built: a password as OpenSSL 1.0 encodes it"] = stored{pfxOf(sealed(bytewise(legacy), 2048),
		plain(old(bytewise).shroud(key, legacy)), old(bytewise).content(legacy, certificates...)), legacy}
	stores["built: PBMAC1 over BER"] = stored{berOf(t, pbmac1(secret, crypto.SHA256, crypto.SHA256, prf("9"), 32,
		number(32), prf("9")), shrouded, encrypted), secret}
	return stores
}

// seal returns an encrypted key of which only the algorithm matters, because it is refused.
func seal(e encryption) []byte { return bagOf("2", seq(e.algorithm, octets(make([]byte, 32)))) }

func sealContent(e encryption) []byte {
	return seq(oid(ownTypes+"7.6"), wrap(seq(number(0), seq(oid(ownTypes+"7.1"), e.algorithm,
		tlv(0x80, make([]byte, 32))))))
}

// pbes2 returns PBES2 of a key derivation and a cipher that are not supported.
func pbes2(kdf, cipher []byte) encryption {
	return encryption{algorithm: seq(oid(ownTypes+"5.13"), seq(kdf, cipher))}
}

func rsaKey(t testing.TB) []byte {
	t.Helper()
	return must[[]byte](t)(x509.MarshalPKCS8PrivateKey(must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))))
}

// berOf is pfxOf with a list of contents in BER.
func berOf(t testing.TB, mac func([]byte) []byte, contents ...[]byte) []byte {
	t.Helper()
	content := ber{indefinite: true, piece: 1 << 16}.encode(t, seq(contents...))
	return seq(number(3), seq(oid(ownTypes+"7.1"), wrap(octets(content))), mac(content))
}

// inner returns the content of a sequence.
func inner(der []byte) []byte {
	var value asn1.RawValue
	_, _ = asn1.Unmarshal(der, &value)
	return value.Bytes
}

func pemBlocks(t testing.TB, path string) [][]byte {
	t.Helper()
	var blocks [][]byte
	content := must[[]byte](t)(os.ReadFile(path))
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block.Bytes)
	}
	return blocks
}
