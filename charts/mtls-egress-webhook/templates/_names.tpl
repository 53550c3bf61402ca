{{- define "mtls-egress-webhook.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "mtls-egress-webhook.fullname" -}}
{{- $name := include "mtls-egress-webhook.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/*
The API server calls webhook configurations in the order of their names. Istio's (istio-sidecar-injector, or
istio-revision-tag-…) reads the annotations that ours writes and is not called a second time, so ours has to come first: a
digit sorts before every letter. https://github.com/istio/istio/issues/43074
*/}}
{{- define "mtls-egress-webhook.webhookConfiguration" -}}
{{- printf "0-%s" (include "mtls-egress-webhook.fullname" .) }}
{{- end }}

{{- define "mtls-egress-webhook.caSecret" -}}
{{- printf "%s-ca" (include "mtls-egress-webhook.fullname" .) }}
{{- end }}

{{- define "mtls-egress-webhook.servingCertificate" -}}
{{- printf "%s-serving" (include "mtls-egress-webhook.fullname" .) }}
{{- end }}

{{- define "mtls-egress-webhook.servingCA" -}}
{{- printf "%s-ca" (include "mtls-egress-webhook.servingCertificate" .) }}
{{- end }}

{{- /* The names of the Secrets that cert-manager makes for the release, or made before it had another issuer, as a list. */}}
{{- define "mtls-egress-webhook.servingSecrets" -}}
{{- $secrets := list }}
{{- if eq .Values.servingCertificate.provider "cert-manager" }}
{{- $secrets = list (include "mtls-egress-webhook.servingCertificate" .) (include "mtls-egress-webhook.servingCA" .) }}
{{- end }}
{{- toYaml $secrets }}
{{- end }}

{{- /*
What belongs to one of the two processes takes a dict with top, the root context, and component, which is webhook or
controller. The section of the values with that name holds the settings of the process.
*/}}

{{- define "mtls-egress-webhook.componentName" -}}
{{- $name := include "mtls-egress-webhook.fullname" .top }}
{{- eq .component "webhook" | ternary $name (printf "%s-%s" $name .component) }}
{{- end }}

{{- define "mtls-egress-webhook.componentSelectorLabels" -}}
{{ include "mtls-egress-webhook.selectorLabels" .top }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "mtls-egress-webhook.componentLabels" -}}
{{- $own := dict "app.kubernetes.io/component" .component }}
{{- merge $own (include "mtls-egress-webhook.labels" .top | fromYaml) | toYaml }}
{{- end }}

{{- define "mtls-egress-webhook.componentMetadata" -}}
name: {{ include "mtls-egress-webhook.componentName" . }}
namespace: {{ .top.Release.Namespace }}
labels:
  {{- include "mtls-egress-webhook.componentLabels" . | nindent 2 }}
{{- end }}

{{- define "mtls-egress-webhook.serviceAccount" -}}
{{- $values := get .top.Values .component }}
{{- $values.serviceAccount.name | default (include "mtls-egress-webhook.componentName" .) }}
{{- end }}

{{- /* The name of the Lease, which the controller has as a constant. */}}
{{- define "mtls-egress-webhook.lease" -}}
mtls-egress-webhook-controller
{{- end }}

{{- define "mtls-egress-webhook.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "mtls-egress-webhook.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mtls-egress-webhook.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* On every object. What the chart itself says stays: Services, tests and people find the objects by it. */}}
{{- define "mtls-egress-webhook.labels" -}}
{{- $own := include "mtls-egress-webhook.selectorLabels" . | fromYaml }}
{{- $own = merge $own (dict
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/part-of" "mtls-egress-webhook"
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_")) }}
{{- merge $own (.Values.commonLabels | default dict) | toYaml }}
{{- end }}
