package cli

// The image contains only the program, so the CAs of serverCA.system are compiled in: Mozilla's, as
// in sidecar images. If the system has its own CAs, those take precedence.
//
// https://pkg.go.dev/crypto/x509#SetFallbackRoots
import _ "golang.org/x/crypto/x509roots/fallback"
