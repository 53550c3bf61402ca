{{- /*
What every Pod of the chart has, that of the Deployment and those of the hooks: what Pod security restricted asks for, and the token, mounted where it can be seen.
*/}}

{{- define "mtls-egress-webhook.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "mtls-egress-webhook.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "mtls-egress-webhook.tokenMount" -}}
name: token
mountPath: /var/run/secrets/kubernetes.io/serviceaccount
readOnly: true
{{- end }}

{{- define "mtls-egress-webhook.tokenVolume" -}}
name: token
projected:
  # Readable for the image's user, whatever its number.
  defaultMode: 0444
  sources:
  - serviceAccountToken: {path: token, expirationSeconds: 3600}
  - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
  - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}
