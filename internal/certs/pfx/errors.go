package pfx

import "fmt"

// PasswordError means that the password doesn't fit.
type PasswordError struct {
	// What names the part that the password doesn't decrypt. "" if the MAC doesn't match.
	What string
	// Verified reports whether the MAC of the file matches with the password. Only this part then
	// has another password.
	Verified bool
}

func (e *PasswordError) Error() string {
	if e.What == "" {
		return "pfx: the MAC doesn't match the password"
	}
	return "pfx: the password doesn't decrypt " + e.What
}

// UnsupportedError means that a file uses something that [Read] doesn't know.
type UnsupportedError struct {
	// What names it, for example "the cipher CAMELLIA-256-CBC".
	What string
	// OpenSSL reports whether OpenSSL may read the file, and so can rewrite it. Legacy reports
	// whether it needs its legacy provider for that.
	OpenSSL, Legacy bool
}

func (e *UnsupportedError) Error() string { return "pfx: unsupported: " + e.What }

// LayoutError means that a value doesn't have the structure of the standard.
type LayoutError struct {
	// Where names the value, Why the problem or the part of it. Why can be "".
	Where, Why string
	// Verified reports whether the MAC of the file matches. The file is then as its tool wrote it.
	Verified bool
}

func (e *LayoutError) Error() string { return "pfx: malformed: " + e.Where }

// within returns the error for a value in the value of e.
func (e *LayoutError) within(what, why string) *LayoutError {
	return &LayoutError{Where: what + " in " + e.Where, Why: why, Verified: e.Verified}
}

// IterationsError means that reading the file takes too many iterations of key derivation.
type IterationsError struct {
	// Count is the number of iterations up to the derivation that exceeds the limit.
	Count int
}

func (e *IterationsError) Error() string {
	return fmt.Sprintf("pfx: %d iterations of key derivation", e.Count)
}
