package check_test

import (
	"fmt"
	"strings"
	"testing"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/manifests"
)

// BenchmarkCheck reads and checks 1,000 Deployments, each with its Service, its ServiceAccount, and
// hand-written Istio objects for a host of its own. Each tenth has a mistake.
func BenchmarkCheck(b *testing.B) {
	const deployments = 1000
	var text strings.Builder
	for n := range deployments {
		image := "registry.example/app:1"
		if n%10 == 0 {
			image += "\n        securityContext: {privileged: true}"
		}
		fmt.Fprintf(&text, deployment, n, n%50, image)
	}
	content := []byte(text.String())
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		documents, problems := manifests.Read("all.yaml", content)
		if len(problems) > 0 {
			b.Fatal(problems[0])
		}
		if findings := check.Check(documents, everyHost()); len(findings) < deployments/10 {
			b.Fatalf("%d findings", len(findings))
		}
	}
}

// deployment has three verbs: the number of the app, the number of its namespace, and the image.
const deployment = `---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-%[1]d
  namespace: project-%[2]d
  annotations:
    mtls.egress/target: partner-%[1]d.example.com
spec:
  selector:
    matchLabels: {app: app-%[1]d}
  template:
    metadata:
      labels: {app: app-%[1]d}
    spec:
      containers:
      - name: app
        env:
        - {name: PARTNER, value: "http://partner-%[1]d.example.com/api"}
        image: %[3]s
---
apiVersion: v1
kind: Service
metadata: {name: app-%[1]d, namespace: project-%[2]d}
spec:
  selector: {app: app-%[1]d}
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: app-%[1]d, namespace: project-%[2]d}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: other-%[1]d, namespace: project-%[2]d}
spec:
  hosts: [other-%[1]d.example.com]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: https, protocol: HTTPS}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other-%[1]d, namespace: project-%[2]d}
spec:
  hosts: [other-%[1]d.example.com]
  http:
  - match: [{port: 80}]
    route:
    - destination: {host: other-%[1]d.example.com, subset: mtls, port: {number: 443}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: other-%[1]d, namespace: project-%[2]d}
spec:
  host: other-%[1]d.example.com
  subsets:
  - name: mtls
    trafficPolicy:
      tls:
        mode: MUTUAL
        clientCertificate: /etc/mtlsfiles/cert
        privateKey: /etc/mtlsfiles/key
        caCertificates: /etc/mtlsfiles/cacert
        sni: other-%[1]d.example.com
        subjectAltNames: [other-%[1]d.example.com]
`
