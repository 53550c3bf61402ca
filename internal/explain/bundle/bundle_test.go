package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

const (
	token = "zq7-plain-token-of-nobody"
	jwt   = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"
)

// privateKey is a new private key in PEM.
func privateKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// planted are files with the key and the token wherever users and programs put them.
func planted(t *testing.T, key string) map[string][]byte {
	t.Helper()
	encoded := base64.StdEncoding.EncodeToString([]byte(key))
	lastApplied := `{"data":{"key":"` + encoded + `","token":"` + token + `"}}`
	container := map[string]any{
		"name": "app", "image": "shop", "args": []any{"--password=" + token, key}, "command": []any{"/run", jwt},
		"env": []any{map[string]any{"name": "TOKEN", "value": token}, map[string]any{"name": "KEY", "value": key}},
		"livenessProbe": map[string]any{"httpGet": map[string]any{
			"httpHeaders": []any{map[string]any{"name": "Authorization", "value": "Bearer " + token}},
		}},
	}
	metadata := map[string]any{
		"name": "shop", "managedFields": []any{map[string]any{"f:token": token}},
		"annotations": map[string]any{
			"kubectl.kubernetes.io/last-applied-configuration": lastApplied, "example.com/token": token,
			"proxy.istio.io/config": token, "mtls.egress/target": "external.system.com",
		},
	}
	files := map[string]any{
		"pod.json": map[string]any{"metadata": metadata, "spec": map[string]any{"containers": []any{container}}},
		"workload.json": map[string]any{"spec": map[string]any{"template": map[string]any{
			"metadata": metadata, "spec": map[string]any{"initContainers": []any{container}},
		}}},
		"secret.json": map[string]any{
			"metadata": metadata, "data": map[string]any{"key": encoded}, "stringData": map[string]any{"t": token},
		},
		"istio.json": []any{map[string]any{"spec": map[string]any{"http": []any{map[string]any{"headers": map[string]any{
			"request": map[string]any{"set": map[string]any{"authorization": token}, "add": map[string]any{"x-token": token}},
		}}}}}},
		"envoy/config_dump.json": map[string]any{
			"configs": []any{
				map[string]any{"secret": map[string]any{"tls_certificate": map[string]any{
					"private_key": map[string]any{"inline_bytes": encoded}, "password": map[string]any{"inline_string": token},
				}}},
				map[string]any{"request_headers_to_" +
					"add": []any{map[string]any{"header": map[string]any{"key": "authorization", "value": "Basic " + token}}}},
				map[string]any{"direct_response": map[string]any{"body": map[string]any{"inline_string": token}}},
				map[string]any{"typed_config": map[string]any{"inline_code": "local t = '" + token + "'"}},
				map[string]any{"path": "https://user:" + token + "@example.com/?token=" + token, "text": key},
			},
		},
		"events.json": []any{map[string]any{"Message": "failed with " + jwt + " and " + key}},
	}
	all := map[string][]byte{"log.txt": []byte("GET /?access_token=" + token + " " + key + " Authorization: " +
		"Bearer " + jwt)}
	for name, content := range files {
		text, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = text
	}
	return all
}

func TestNoSecretIsInABundle(t *testing.T) {
	key := privateKey(t)
	content := unpack(t, planted(t, key), [][]byte{[]byte(key)})
	body := strings.Split(strings.TrimSpace(key), "\n")
	for what, secret := range map[string]string{
		"the token": token, "the JSON web token": jwt, "a line of the key": body[1], "the end of the key": body[len(body)-2],
		"the key in base64": base64.StdEncoding.EncodeToString([]byte(key))[:60], "the header of a key": "PRIVATE KEY",
	} {
		for name, text := range content {
			if strings.Contains(text, secret) {
				t.Errorf("%s is in %s:\n%s", what, name, text)
			}
		}
	}
	if !strings.Contains(content["mtls-egress/pod.json"], `"mtls.egress/target": "external.system.com"`) {
		t.Errorf("the bundle lacks the annotation that it is about:\n%s", content["mtls-egress/pod.json"])
	}
}

func TestAKeyIsFoundWithoutItsSecret(t *testing.T) {
	key := privateKey(t)
	for name, text := range unpack(t, planted(t, key), nil) {
		if strings.Contains(text, strings.Split(key, "\n")[1]) {
			t.Errorf("the key is in %s:\n%s", name, text)
		}
	}
}

func TestWhatSupportNeedsStays(t *testing.T) {
	const pod = `{"spec": {"initContainers": [{"name": "istio-init", "args": ["-i", "*"]}]},
"metadata": {"annotations": {"traffic.sidecar.istio.io/excludeOutboundPorts": "80"}}}`
	const clusters = `{"host_statuses": [{"stats": [{"name": "cx_total", "value": "12"}]}]}`
	for name, test := range map[string]struct{ content, want string }{
		"arguments of istio-init": {pod, `"-i"`},
		"annotations of Istio":    {pod, `"traffic.sidecar.istio.io/excludeOutboundPorts": "80"`},
		"counters of Envoy":       {clusters, `"value": "12"`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(Redact([]byte(test.content), nil)); !strings.Contains(got, test.want) {
				t.Errorf("%s lacks %s", got, test.want)
			}
		})
	}
}

// unpack writes a bundle and returns its files.
func unpack(t *testing.T, files map[string][]byte, secrets [][]byte) map[string]string {
	t.Helper()
	var written bytes.Buffer
	if err := Write(&written, files, secrets, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	compressed, err := gzip.NewReader(&written)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(compressed)
	found := map[string]string{}
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		found[header.Name] = string(content)
	}
	if len(found) != len(files) {
		t.Fatalf("%d files in the bundle, want %d", len(found), len(files))
	}
	return found
}
