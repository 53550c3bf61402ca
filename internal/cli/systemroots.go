package cli

// The image has no files but the program, so the CAs that the system trusts, which serverCA.system
// means, come with it: Mozilla's, as in the images of sidecars. Where the system has some of its
// own, those count. https://pkg.go.dev/crypto/x509#SetFallbackRoots
import _ "golang.org/x/crypto/x509roots/fallback"
