// Command noop is the least that a webhook can be: it reads each request and answers with the JSON
// patch in its argument. The benchmark of Pod creates compares ours with it.
//
//	noop '[{"op": "add", "path": "/metadata/annotations/a", "value": "b"}]'
//
// It prints its URL and the certificate to trust as JSON in one line, and runs until its standard
// input is closed.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "noop:", err)
		os.Exit(1)
	}
}

func run(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: noop PATCH")
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := json.NewEncoder(stdout).Encode(map[string]string{
		"url": "https://" + listener.Addr().String(),
		"ca":  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})),
	}); err != nil {
		return err
	}
	server := &http.Server{Handler: answer(args[0]), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // the process that started it has ended
		_ = server.Close()
	}()
	configured := tls.NewListener(listener,
		&tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*certificate}})
	if err := server.Serve(configured); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answer returns a handler that takes nothing from a request but its UID, which is the first in an
// AdmissionReview.
func answer(patch string) http.HandlerFunc {
	start := []byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"allowed":true,"uid":"`)
	end := []byte(`","patchType":"JSONPatch","patch":"` + base64.StdEncoding.EncodeToString([]byte(patch)) + `"}}`)
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, rest, found := bytes.Cut(body, []byte(`"uid":"`))
		uid, _, closed := bytes.Cut(rest, []byte(`"`))
		if err != nil || !found || !closed {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(bytes.Join([][]byte{start, end}, uid))
	}
}

// selfSigned returns a certificate for the loopback address.
func selfSigned() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
