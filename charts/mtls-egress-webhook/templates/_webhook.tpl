{{- /*
The part of the Deployment that only the webhook has.
*/}}

{{- define "mtls-egress-webhook.webhook.args" -}}
- --webhook-port={{ .Values.webhook.port }}
- --service-name={{ include "mtls-egress-webhook.fullname" . }}
{{- if eq .Values.servingCertificate.provider "embedded" }}
- --ca-secret={{ include "mtls-egress-webhook.caSecret" . }}
{{- else }}
- --serving-certificate-dir=/var/run/secrets/serving-certificate
{{- end }}
- {{ printf "--workloads=%s" (toJson .Values.workloads) | quote }}
- --injector-config={{ .Values.istio.injectorConfigMap }}
- --require-injection={{ .Values.policy.requireInjection }}
- --webhook-configuration={{ include "mtls-egress-webhook.webhookConfiguration" . }}
{{- if .Values.webhook.clientCAConfigMap }}
- --client-ca-file=/etc/mtls-egress-webhook/client-ca/ca.crt
{{- end }}
- --shutdown-delay={{ .Values.webhook.deployment.shutdownDelay }}
{{- end }}

{{- define "mtls-egress-webhook.webhook.ports" -}}
- {name: webhook, containerPort: {{ .Values.webhook.port }}, protocol: TCP}
{{- end }}

{{- define "mtls-egress-webhook.webhook.volumeMounts" -}}
{{- if eq .Values.servingCertificate.provider "cert-manager" }}
# No subPath: the kubelet doesn't update such a mount.
# https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath
- name: serving-certificate
  mountPath: /var/run/secrets/serving-certificate
  readOnly: true
{{- end }}
{{- if .Values.webhook.clientCAConfigMap }}
- name: client-ca
  mountPath: /etc/mtls-egress-webhook/client-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "mtls-egress-webhook.webhook.volumes" -}}
{{- if eq .Values.servingCertificate.provider "cert-manager" }}
- name: serving-certificate
  secret: {secretName: {{ include "mtls-egress-webhook.servingCertificate" . }}, defaultMode: 0444}
{{- end }}
{{- with .Values.webhook.clientCAConfigMap }}
- name: client-ca
  configMap: {name: {{ . }}, items: [{key: ca.crt, path: ca.crt}], defaultMode: 0444}
{{- end }}
{{- end }}
