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

{{- /* The namespace of all namespaced objects, unless a value names another for some of them. */}}
{{- define "mtls-egress-webhook.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{/*
The API server calls webhooks in the order of the names of their configurations. Istio's webhook
(istio-sidecar-injector or istio-revision-tag-…) reads the annotations that this webhook writes, and
it is not called a second time. Therefore this configuration must come first: a digit sorts before
every letter. https://github.com/istio/istio/issues/43074
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

{{- /* A list of the names of the Secrets that cert-manager creates for the release, or created before issuerRef was set. */}}
{{- define "mtls-egress-webhook.servingSecrets" -}}
{{- $secrets := list }}
{{- if eq .Values.servingCertificate.provider "cert-manager" }}
{{- $secrets = list (include "mtls-egress-webhook.servingCertificate" .) (include "mtls-egress-webhook.servingCA" .) }}
{{- end }}
{{- toYaml $secrets }}
{{- end }}

{{- /*
Templates for one of the two processes take a dict with top (the root context) and component
(webhook or controller). The section of the values with that name holds the settings of the process.
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
{{- merge $own (include "mtls-egress-webhook.chartLabels" .top | fromYaml) (.labels | default dict) (.top.Values.commonLabels | default dict) | toYaml }}
{{- end }}

{{- /* The metadata of an object of the process. The dict can also have name, labels and annotations, as for metadata. */}}
{{- define "mtls-egress-webhook.componentMetadata" -}}
{{- $own := dict "app.kubernetes.io/component" .component }}
{{- include "mtls-egress-webhook.metadata" (merge (dict "own" $own "namespaced" true) (dict
  "top" .top "name" (.name | default (include "mtls-egress-webhook.componentName" .)) "labels" .labels "annotations" .annotations)) }}
{{- end }}

{{- define "mtls-egress-webhook.serviceAccount" -}}
{{- $values := get .top.Values .component }}
{{- $values.serviceAccount.name | default (include "mtls-egress-webhook.componentName" .) }}
{{- end }}

{{- /* The name of the Lease is a constant in the controller. */}}
{{- define "mtls-egress-webhook.lease" -}}
mtls-egress-webhook-controller
{{- end }}

{{- define "mtls-egress-webhook.image" -}}
{{- with .Values.image }}
{{- $repository := .repository }}
{{- with .registry | default ($.Values.global | default dict).imageRegistry }}
{{- /* As in Docker's references, the first part is a registry if it can't be a part of a path. */}}
{{- $repository = regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "" | printf "%s/%s" . }}
{{- end }}
{{- if .digest }}
{{- printf "%s@%s" $repository .digest }}
{{- else }}
{{- printf "%s:%s" $repository (.tag | default $.Chart.AppVersion) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The field imagePullSecrets of every Pod, or nothing. */}}
{{- define "mtls-egress-webhook.imagePullSecrets" -}}
{{- $secrets := .Values.imagePullSecrets | default list }}
{{- range ($.Values.global | default dict).imagePullSecrets }}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) }}
{{- end }}
{{- with $secrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "mtls-egress-webhook.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mtls-egress-webhook.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mtls-egress-webhook.chartLabels" -}}
{{ include "mtls-egress-webhook.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mtls-egress-webhook
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* The labels of every object. The chart's own labels take precedence over commonLabels, because selectors depend on them. */}}
{{- define "mtls-egress-webhook.labels" -}}
{{- merge (include "mtls-egress-webhook.chartLabels" . | fromYaml) (.Values.commonLabels | default dict) | toYaml }}
{{- end }}

{{- /*
The metadata of an object, for every object of the chart. The dict has top and name, and can have
- namespaced: true for an object in the namespace of the release, or namespace for another namespace,
- own: labels that no value can change,
- labels and annotations: those of the values for this object, which take precedence over commonLabels
  and commonAnnotations.
*/}}
{{- define "mtls-egress-webhook.metadata" -}}
name: {{ .name }}
{{- if .namespaced }}
namespace: {{ .namespace | default (include "mtls-egress-webhook.namespace" .top) }}
{{- end }}
labels:
  {{- $own := merge (dict) (.own | default dict) (include "mtls-egress-webhook.chartLabels" .top | fromYaml) }}
  {{- merge $own (.labels | default dict) (.top.Values.commonLabels | default dict) | toYaml | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) (.top.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The URL of a page of the documents, such as reference/alerts, or nothing if it is unknown. */}}
{{- define "mtls-egress-webhook.page" -}}
{{- .top.Values.docsURL | default "" | replace "PAGE" .page }}
{{- end }}

{{- /* The URL of the page with a heading for each alert, or nothing if it is unknown. */}}
{{- define "mtls-egress-webhook.runbooks" -}}
{{- .Values.prometheusRule.runbookURL | default (include "mtls-egress-webhook.page" (dict "top" . "page" "reference/alerts")) }}
{{- end }}
