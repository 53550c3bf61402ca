{{- /*
The common parts of the roles of both processes.
*/}}

{{- define "mtls-egress-webhook.meshConfigRule" -}}
# The mesh configuration and, for the webhook, that of Istio's sidecar injector, by list and watch with
# a field selector on the name. In all namespaces, because a Role can't be installed into a root
# namespace that doesn't exist yet, and the chart may be installed before Istio.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ .top.Values.istio.meshConfigMap | quote }}{{ if eq .component "webhook" }}, {{ .top.Values.istio.injectorConfigMap | quote }}{{ end }}]
  verbs: [list, watch]
{{- end }}

{{- /* The ServiceAccount of one of the two processes, as the subject of a binding. */}}
{{- define "mtls-egress-webhook.subject" -}}
- kind: ServiceAccount
  name: {{ include "mtls-egress-webhook.serviceAccount" . }}
  namespace: {{ include "mtls-egress-webhook.namespace" .top }}
{{- end }}
