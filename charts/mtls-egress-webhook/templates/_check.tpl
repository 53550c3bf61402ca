{{- /*
What the Pods of Helm's hooks share. Each runs one command once, with a ServiceAccount of its own and with the settings in
webhook.deployment.
*/}}

{{- /* Not the selector labels: such a Pod doesn't answer admission requests. */}}
{{- define "mtls-egress-webhook.checkLabels" -}}
{{- $named := dict "app.kubernetes.io/name" (printf "%s-%s" (include "mtls-egress-webhook.name" .top) .check) }}
{{- merge $named (include "mtls-egress-webhook.labels" .top | fromYaml) | toYaml }}
{{- end }}

{{- define "mtls-egress-webhook.checkPodLabels" -}}
{{- merge (dict "sidecar.istio.io/inject" "false") (include "mtls-egress-webhook.checkLabels" . | fromYaml) (.top.Values.webhook.deployment.podLabels | default dict) | toYaml }}
{{- end }}

{{- define "mtls-egress-webhook.checkName" -}}
{{- printf "%s-%s" (include "mtls-egress-webhook.fullname" .top) .check }}
{{- end }}

{{- define "mtls-egress-webhook.checkHook" -}}
helm.sh/hook: {{ .event }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- define "mtls-egress-webhook.checkMetadata" -}}
name: {{ include "mtls-egress-webhook.checkName" . }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "mtls-egress-webhook.checkLabels" . | nindent 2 }}
annotations:
  {{- include "mtls-egress-webhook.checkHook" . | nindent 2 }}
{{- end }}

{{- /* The account comes first, then its role and the binding of both, and last what uses them. */}}
{{- define "mtls-egress-webhook.checkAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "mtls-egress-webhook.checkMetadata" (merge (dict "weight" "-3" "namespace" .top.Release.Namespace) .) | nindent 2 }}
automountServiceAccountToken: false
{{- end }}

{{- /* With a namespace it is a Role there, without one a ClusterRole. Its rules follow it. */}}
{{- define "mtls-egress-webhook.checkRole" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "Role" "ClusterRole" (hasKey . "namespace") }}
metadata:
  {{- include "mtls-egress-webhook.checkMetadata" (merge (dict "weight" "-2") .) | nindent 2 }}
{{- end }}

{{- define "mtls-egress-webhook.checkBinding" -}}
{{- $role := ternary "Role" "ClusterRole" (hasKey . "namespace") -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $role }}Binding
metadata:
  {{- include "mtls-egress-webhook.checkMetadata" (merge (dict "weight" "-1") .) | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $role }}
  name: {{ include "mtls-egress-webhook.checkName" . }}
subjects:
- kind: ServiceAccount
  name: {{ include "mtls-egress-webhook.checkName" . }}
  namespace: {{ .top.Release.Namespace }}
{{- end }}

{{- define "mtls-egress-webhook.checkPod" -}}
{{- $values := .top.Values -}}
{{- $deployment := $values.webhook.deployment -}}
restartPolicy: Never
serviceAccountName: {{ include "mtls-egress-webhook.checkName" . }}
# The token is mounted below, where it can be seen.
automountServiceAccountToken: false
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- /* What runs after the release is gone has no quota any more that would admit it with a system- priority. */}}
{{- if and $deployment.priorityClassName (not .afterwards) }}
priorityClassName: {{ $deployment.priorityClassName }}
{{- end }}
securityContext:
  {{- include "mtls-egress-webhook.podSecurityContext" .top | nindent 2 }}
containers:
- name: check
  image: {{ include "mtls-egress-webhook.image" .top | quote }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  args:
    {{- toYaml .args | nindent 4 }}
  resources:
    {{- toYaml $deployment.resources | nindent 4 }}
  {{- with $deployment.extraEnv }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "mtls-egress-webhook.containerSecurityContext" .top | nindent 4 }}
  volumeMounts:
  - {{ include "mtls-egress-webhook.tokenMount" .top | indent 4 | trim }}
volumes:
- {{ include "mtls-egress-webhook.tokenVolume" .top | indent 2 | trim }}
{{- with $deployment.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $deployment.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- /* Not what keeps the webhook's Pods apart: it would keep this one from the nodes that they are on. */}}
{{- with $deployment.affinity.nodeAffinity }}
affinity:
  nodeAffinity:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}
