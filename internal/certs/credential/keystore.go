package credential

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mtls.egress/webhook/internal/certs/jks"
	"mtls.egress/webhook/internal/certs/pfx"
)

// ReadKeyStore decodes a file with a private key and its certificates: PKCS#12, as [ReadPKCS12]
// does, a Java key store (JKS), or PEM. In PEM, the blocks can have any order and other text around
// them, and the key can be encrypted. name is the name of the file, for messages.
//
// If password is the reason for the error, it is a [*WrongPasswordError].
func ReadKeyStore(name string, content []byte, password string) (Bundle, error) {
	switch {
	case jks.Is(content):
		contents, err := readJavaStore(content, password)
		if err != nil {
			return Bundle{}, err
		}
		return bundleOf(contents)
	case isPEM(content):
		return readPEMStore(name, content, password)
	}
	return ReadPKCS12(content, password)
}

// NeedsPassword reports whether a file can be encrypted.
func NeedsPassword(content []byte) bool {
	if IsPKCS12(content) || jks.Is(content) {
		return true
	}
	text, _, err := Text(content)
	return err == nil && slices.ContainsFunc(blocksOf(text), encrypted)
}

// isPEM reports whether a file has a PEM block, in one of the encodings of [Text].
func isPEM(content []byte) bool {
	if isDER(content) || IsPKCS12(content) {
		return false
	}
	text, _, err := Text(content)
	return err == nil && countBegin(text) > 0
}

// blocksOf returns the PEM blocks that can be decoded.
func blocksOf(text []byte) (blocks []*pem.Block) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block)
	}
	return blocks
}

func readPEMStore(name string, content []byte, password string) (Bundle, error) {
	p := part{privateKeyPart, name}
	text, problem := readable(p, content)
	var blocks []*pem.Block
	if problem == "" {
		blocks, problem = readPEM(p, text, "")
	}
	if problem != "" {
		return Bundle{}, errors.New(problem)
	}
	if !slices.ContainsFunc(blocks, isKeyBlock) {
		return Bundle{}, errors.New("the file holds no private key but " + contents(blocks) + "; join the key and its " +
			"certificates with credential complete --key FILE --cert FILE")
	}
	decrypted, err := decryptKeys(blocks, password)
	if err != nil {
		return Bundle{}, err
	}
	key, keyError := ReadPrivateKey(name, decrypted)
	certificates, certificatesError := ReadCertificates(name, decrypted)
	if err := errors.Join(keyError, certificatesError); err != nil {
		return Bundle{}, err
	}
	return Bundle{PrivateKey: key, Certificates: certificates}, nil
}

func isKeyBlock(block *pem.Block) bool { return strings.HasSuffix(block.Type, pkcs8Block) }

// ReadKey parses the private key in a PEM file, which can be encrypted. name is the name of the
// file, for messages. If password is the reason for the error, it is a [*WrongPasswordError].
func ReadKey(name string, content []byte, password string) (crypto.Signer, error) {
	if !isPEM(content) {
		return ReadPrivateKey(name, content)
	}
	text, _, err := Text(content)
	if err != nil {
		return nil, err
	}
	blocks, problem := readPEM(part{privateKeyPart, name}, text, "")
	if problem != "" {
		return nil, errors.New(problem)
	}
	decrypted, err := decryptKeys(blocks, password)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", part{privateKeyPart, name}, err)
	}
	return ReadPrivateKey(name, decrypted)
}

// decryptKeys returns PEM in which the private keys are decrypted. They share the limit for key
// derivation.
func decryptKeys(blocks []*pem.Block, password string) ([]byte, error) {
	count := 0
	for _, block := range blocks {
		if isKeyBlock(block) && encrypted(block) {
			count++
		}
	}
	var out bytes.Buffer
	for _, block := range blocks {
		if isKeyBlock(block) && encrypted(block) {
			var err error
			if block, err = decryptKey(block, password, maxIterations/count); err != nil {
				return nil, err
			}
		}
		out.Write(pem.EncodeToMemory(block))
	}
	return out.Bytes(), nil
}

var errUnsupportedEncryption = errors.New("the private key is encrypted in a way that is not supported: decrypt it " +
	"(openssl pkey -in FILE -out NEW)")

func decryptKey(block *pem.Block, password string, iterations int) (*pem.Block, error) {
	if block.Type != encryptedKeyBlock {
		return decryptOldKey(block, password)
	}
	der, err := pfx.DecryptKey(block.Bytes, password, iterations)
	if _, wrong := errors.AsType[*pfx.PasswordError](err); wrong {
		return nil, wrongKeyPassword(password)
	}
	if err != nil {
		return nil, errUnsupportedEncryption
	}
	return &pem.Block{Type: pkcs8Block, Bytes: der}, nil
}

// decryptOldKey decrypts a key with the headers of RFC 1421, as OpenSSL wrote keys before version
// 1.0. The encryption is not authenticated, so a wrong password can result in random bytes.
func decryptOldKey(block *pem.Block, password string) (*pem.Block, error) {
	//nolint:staticcheck // The format is insecure, and partners send it all the same.
	der, err := x509.DecryptPEMBlock(block, []byte(password))
	if err != nil && !errors.Is(err, x509.IncorrectPasswordError) {
		return nil, errUnsupportedEncryption
	}
	if values, ok := splitDER(der); err != nil || !ok || len(values) != 1 || der[0] != 0x30 {
		return nil, wrongKeyPassword(password)
	}
	return &pem.Block{Type: block.Type, Bytes: der}, nil
}

func wrongKeyPassword(password string) error {
	if password == "" {
		return errNoPassword
	}
	return &WrongPasswordError{"the password is wrong: it doesn't decrypt the private key"}
}

// storedKey is a private key in a file, or the reason why it can't be used.
type storedKey struct {
	item    pfx.Item
	signer  crypto.Signer
	problem string
}

// bundleOf chooses the private key of a file, and parses its certificates.
func bundleOf(contents pfx.Contents) (Bundle, error) {
	if count := len(contents.Certificates); count > maxCertificates {
		return Bundle{}, errors.New("the file holds " + tooMany(count))
	}
	keys := distinct(contents.Keys)
	switch {
	case len(keys) == 0:
		return Bundle{}, errors.New(withoutKey(contents))
	case len(keys) > 1:
		return Bundle{}, errors.New(severalKeys(keys, contents.Certificates))
	case len(contents.Certificates) == 0:
		return Bundle{},
			errors.New("the file holds a private key but no certificate: ask for a file with both, or join " +
				"key and certificate with credential complete")
	}
	bundle := Bundle{PrivateKey: keys[0].signer}
	var unreadable []string
	for i, item := range contents.Certificates {
		certificate, problem := parseStored(item)
		if problem != "" {
			unreadable = append(unreadable, fmt.Sprintf("certificate %d of %d in the file %s", i+1,
				len(contents.Certificates), problem))
			continue
		}
		bundle.Certificates = append(bundle.Certificates, certificate)
	}
	for _, problem := range unreadable {
		bundle.Findings = append(bundle.Findings, warning(CertificateUnreadable, "%s; it is omitted", problem))
	}
	if keys[0].problem != "" {
		return bundle, refuse(Problem{Reason: PrivateKeyUnreadable, Message: "its private key " + keys[0].problem})
	}
	if len(unreadable) > 0 && newest(bundle.Certificates, ownedBy(bundle.PrivateKey)) == nil {
		return bundle, refuse(Problem{Reason: CertificateUnreadable,
			Message: "no certificate matches the private key, unless it is one that can't be read: " +
				strings.Join(unreadable, "; ")})
	}
	return bundle, nil
}

// parseStored parses a certificate of a file. problem completes a sentence about it.
func parseStored(item pfx.Item) (certificate *x509.Certificate, problem string) {
	if len(item.DER) > maxCertificateSize {
		return nil, fmt.Sprintf("has %d bytes; at most %d are read", len(item.DER), maxCertificateSize)
	}
	certificate, err := x509.ParseCertificate(item.DER)
	if err != nil {
		return nil, whyUnreadable(item.DER, err)
	}
	return certificate, checkModulus(certificate)
}

// distinct parses the keys, and returns each once.
func distinct(items []pfx.Item) []storedKey {
	var keys []storedKey
	for _, item := range items {
		signer, problem := parseKey("its private key", &pem.Block{Type: pkcs8Block, Bytes: item.DER})
		key := storedKey{item, signer, problem}
		known := false
		for _, other := range keys {
			known = known || key.equals(other)
		}
		if !known {
			keys = append(keys, key)
		}
	}
	return keys
}

func (k storedKey) equals(other storedKey) bool {
	if k.signer == nil || other.signer == nil {
		return bytes.Equal(k.item.DER, other.item.DER)
	}
	public, ok := k.signer.Public().(interface{ Equal(x crypto.PublicKey) bool })
	return ok && public.Equal(other.signer.Public())
}

func withoutKey(contents pfx.Contents) string {
	also := ""
	if len(contents.Skipped) > 0 {
		also = fmt.Sprintf(" (it also holds %s, which is not read)", Printable(contents.Skipped[0]))
	}
	if len(contents.Certificates) == 0 {
		return "the file holds neither a private key nor a certificate" + also
	}
	return "the file holds certificates but no private key" + also + ": it is a trust store, or was exported without " +
		"the key; export it with the key"
}

// severalKeys lists the keys of a file, which names them for keytool if they have names.
func severalKeys(keys []storedKey, certificates []pfx.Item) string {
	const shown = 5
	var listed []string
	named := true
	for _, key := range keys {
		named = named && key.item.Name != ""
	}
	for _, key := range keys[:min(shown, len(keys))] {
		listed = append(listed, key.describe(certificates))
	}
	if more := len(keys) - shown; more > 0 {
		listed = append(listed, fmt.Sprintf("%d more", more))
	}
	fix := "openssl pkcs12 -in FILE -nodes -out all.pem, remove the other keys from all.pem, and openssl pkcs12 -export " +
		"-in all.pem -out new.p12"
	if named {
		fix = "keytool -importkeystore -srckeystore FILE -srcstoretype PKCS12 -srcalias ALIAS -destkeystore new.p12 " +
			"-deststoretype PKCS12"
	}
	return fmt.Sprintf("the file holds %d different private keys: %s; export the right one into a separate file (%s)",
		len(keys), strings.Join(listed, "; "), fix)
}

// describe names a key by its alias, its type, and the subject of its newest certificate.
func (k storedKey) describe(items []pfx.Item) string {
	parts := []string{"an unsupported type"}
	if k.signer != nil {
		parts[0] = keyType(k.signer.Public())
		var certificates []*x509.Certificate
		for _, item := range items {
			if certificate, problem := parseStored(item); problem == "" {
				certificates = append(certificates, certificate)
			}
		}
		if leaf := newest(certificates, ownedBy(k.signer)); leaf != nil {
			parts = append(parts, "subject "+Quote(DistinguishedName(leaf.RawSubject)))
		}
	}
	if k.item.Name != "" {
		parts = append([]string{"alias " + Quote(k.item.Name)}, parts...)
	}
	return strings.Join(parts, ", ")
}

// ownedBy returns a condition for certificates of a key.
func ownedBy(key crypto.Signer) func(*x509.Certificate) bool {
	return func(certificate *x509.Certificate) bool { return belongs(key, certificate) }
}
