package pfx_test

import (
	"crypto"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"mtls.egress/webhook/internal/certs/pfx"
)

// TestDeriveAgreesWithOpenSSL compares derived values for random passwords and salts, including
// lengths around the block size.
func TestDeriveAgreesWithOpenSSL(t *testing.T) {
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("needs the openssl command to compare with")
	}
	if output, err := exec.CommandContext(t.Context(), program, "kdf", "-keylen", "20", "-kdfopt", "digest:SHA1",
		"-kdfopt", "hexpass:0000", "-kdfopt", "hexsalt:00", "-kdfopt", "iter:1", "-kdfopt", "id:3",
		"PKCS12KDF").CombinedOutput(); err != nil {
		t.Skipf("this openssl has no kdf command: %s", output)
	}
	random := rand.New(rand.NewPCG(7292, 0))
	lengths := []int{2, 16, 62, 64, 66, 126, 128, 130}
	text := func() string {
		length := lengths[random.IntN(len(lengths))]
		if random.IntN(2) == 0 {
			length = 1 + random.IntN(200)
		}
		bytes := make([]byte, length)
		for i := range bytes {
			bytes[i] = byte(random.Uint32())
		}
		return string(bytes)
	}
	for name, hash := range map[string]crypto.Hash{"SHA1": crypto.SHA1, "SHA224": crypto.SHA224,
		"SHA256": crypto.SHA256, "SHA384": crypto.SHA384, "SHA512": crypto.SHA512} {
		for range 25 {
			password, salt, iterations := text(), text(), 1+random.IntN(50)
			purpose, size := pfx.Purpose(1+random.IntN(3)), 1+random.IntN(3*hash.Size())
			output, err := exec.CommandContext(t.Context(), program, "kdf", "-keylen", strconv.Itoa(size),
				"-kdfopt", "digest:"+name, "-kdfopt", fmt.Sprintf("hexpass:%x", password), "-kdfopt",
				fmt.Sprintf("hexsalt:%x", salt), "-kdfopt", fmt.Sprintf("iter:%d", iterations), "-kdfopt",
				fmt.Sprintf("id:%d", purpose),
				"PKCS12KDF").CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			want := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(string(output)), ":", ""))
			derived := pfx.Derive(hash, purpose, []byte(password), []byte(salt), iterations, size)
			if got := hex.EncodeToString(derived); got != want {
				t.Errorf("%s of %d rounds for %d, password %x, salt %x: %s, openssl has %s", name, iterations, purpose,
					password, salt, got, want)
			}
		}
	}
}
