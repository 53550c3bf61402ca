{{- /*
The common parts of every Pod of the chart, in the Deployments and in the hooks. The token is in an
explicit volume.
*/}}

{{- define "mtls-egress-webhook.tokenMount" -}}
name: token
mountPath: /var/run/secrets/kubernetes.io/serviceaccount
readOnly: true
{{- end }}

{{- define "mtls-egress-webhook.tokenVolume" -}}
name: token
projected:
  # Readable for any user ID.
  defaultMode: 0444
  sources:
  - serviceAccountToken: {path: token, expirationSeconds: 3600}
  - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
  - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}
