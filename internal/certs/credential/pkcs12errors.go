package credential

import (
	"errors"
	"fmt"

	"mtls.egress/webhook/internal/certs/pfx"
)

// rewrite is the command that writes a PKCS#12 file again, as current tools do. It writes no key to
// a file in between.
const rewrite = "openssl pkcs12 -in FILE -nodes | openssl pkcs12 -export -out new.p12"

// explainPKCS12 translates an error of [pfx.Read] into a message with a fix.
func explainPKCS12(err error, password string) error {
	if rounds, ok := errors.AsType[*pfx.IterationsError](err); ok {
		return fmt.Errorf("the file requires %d iterations of key derivation, which would take minutes: the limit is %d",
			rounds.Count, maxIterations)
	}
	if wrong, ok := errors.AsType[*pfx.PasswordError](err); ok {
		return explainPassword(wrong, password)
	}
	if unsupported, ok := errors.AsType[*pfx.UnsupportedError](err); ok {
		return explainUnsupported(unsupported)
	}
	if layout, ok := errors.AsType[*pfx.LayoutError](err); ok {
		return explainLayout(layout)
	}
	return errors.New("the file is PKCS#12, but can't be read: rewrite it (" + rewrite + ")")
}

var errNoPassword = errors.New("the file has a password, and none was given")

// WrongPasswordError means that a password was given, and is not the one of the file.
type WrongPasswordError struct{ message string }

func (e *WrongPasswordError) Error() string { return e.message }

func explainPassword(wrong *pfx.PasswordError, password string) error {
	switch {
	case wrong.Verified:
		return fmt.Errorf("the password matches the MAC of the file, but doesn't decrypt %s: it has another password, "+
			"and a file can have only one here; change it (keytool -importkeystore -srckeystore FILE -destkeystore new.p12 "+
			"-deststoretype PKCS12 asks for both)", wrong.What)
	case password == "":
		return errNoPassword
	case wrong.What != "":
		return &WrongPasswordError{fmt.Sprintf(
			"the password is wrong: it doesn't decrypt %s (there is no MAC to check the password with)", wrong.What)}
	default:
		return &WrongPasswordError{"the password is wrong"}
	}
}

func explainUnsupported(unsupported *pfx.UnsupportedError) error {
	if !unsupported.OpenSSL {
		return fmt.Errorf("the file is PKCS#12, but holds %s, which is not supported: request a file that holds only the "+
			"key and its certificates, with a password", unsupported.What)
	}
	command := rewrite
	if unsupported.Legacy {
		command = "openssl pkcs12 -legacy -in FILE -nodes | openssl pkcs12 -export -out new.p12"
	}
	return fmt.Errorf("the file is PKCS#12, but uses %s, which is not supported: rewrite it with AES-256-CBC and SHA-256 "+
		"(%s)", Printable(unsupported.What), command)
}

func explainLayout(layout *pfx.LayoutError) error {
	why, intact := "", ""
	if layout.Why != "" {
		why = " (" + layout.Why + ")"
	}
	if layout.Verified {
		intact = ", although its MAC matches: its tool wrote it this way"
	}
	return fmt.Errorf("the file is PKCS#12, but %s can't be read%s%s; rewrite it (%s), and if OpenSSL can't read it "+
		"either, request it from its sender in another form", layout.Where, why, intact, rewrite)
}
