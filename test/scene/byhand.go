package scene

import "fmt"

// ByHand are the objects that a team writes by hand for external.system.com, as Istio's
// documentation does, with exportTo "." or "*". They need the files of MountedByHand.
func ByHand(namespace, exportTo string) string { return fmt.Sprintf(byHand, namespace, exportTo) }

const byHand = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: by-hand, namespace: %[1]s}
spec:
  hosts: [external.system.com]
  exportTo: [%[2]q]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: HTTPS}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: by-hand, namespace: %[1]s}
spec:
  hosts: [external.system.com]
  exportTo: [%[2]q]
  http: [{match: [{port: 80}], route: [{destination: {host: external.system.com, port: {number: 443}}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: by-hand, namespace: %[1]s}
spec:
  host: external.system.com
  exportTo: [%[2]q]
  trafficPolicy:
    portLevelSettings:
    - port: {number: 443}
      tls:
        mode: MUTUAL
        clientCertificate: /etc/by-hand/cert
        privateKey: /etc/by-hand/key
        caCertificates: /etc/by-hand/cacert
        sni: external.system.com
        subjectAltNames: [external.system.com]
`

// MountedByHand are the annotations of Istio's by which such a team mounts its Secret.
func MountedByHand() map[string]string {
	return map[string]string{
		"sidecar.istio.io/userVolume":      `[{"name":"by-hand","secret":{"secretName":"external-system-mtls-data"}}]`,
		"sidecar.istio.io/userVolumeMount": `[{"name":"by-hand","mountPath":"/etc/by-hand","readOnly":true}]`,
	}
}
