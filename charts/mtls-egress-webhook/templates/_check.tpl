{{- /*
The common parts of the Pods of Helm hooks. Each Pod runs one command once, with its own
ServiceAccount and with the settings in webhook.deployment.
*/}}

{{- /* This is not one of the selector labels, because such a Pod doesn't answer admission requests. */}}
{{- define "mtls-egress-webhook.checkLabel" -}}
app.kubernetes.io/name: {{ include "mtls-egress-webhook.name" .top }}-{{ .check }}
{{- end }}

{{- define "mtls-egress-webhook.checkPodLabels" -}}
{{- $own := merge (dict "sidecar.istio.io/inject" "false") (include "mtls-egress-webhook.checkLabel" . | fromYaml) }}
{{- merge $own (include "mtls-egress-webhook.labels" .top | fromYaml) (.top.Values.webhook.deployment.podLabels | default dict) | toYaml }}
{{- end }}

{{- define "mtls-egress-webhook.checkName" -}}
{{- printf "%s-%s" (include "mtls-egress-webhook.fullname" .top) .check }}
{{- end }}

{{- /* Helm keeps a failed Job or Pod with logs, and newer versions print its log, which has the reason. */}}
{{- define "mtls-egress-webhook.checkHook" -}}
helm.sh/hook: {{ .event }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- if .logs }}
helm.sh/hook-output-log-policy: hook-failed
{{- end }}
{{- end }}

{{- /* The dict has top, check, event and weight. It can have namespace, logs, and labels and annotations of the object. */}}
{{- define "mtls-egress-webhook.checkMetadata" -}}
{{- $annotations := merge (include "mtls-egress-webhook.checkHook" . | fromYaml) (.annotations | default dict) }}
{{- include "mtls-egress-webhook.metadata" (dict
  "top" .top "name" (include "mtls-egress-webhook.checkName" .) "namespace" .namespace "namespaced" (hasKey . "namespace")
  "own" (include "mtls-egress-webhook.checkLabel" . | fromYaml) "labels" .labels "annotations" $annotations) }}
{{- end }}

{{- /* The weights create the ServiceAccount first, then its role, then the binding, and last the Pod or Job. */}}
{{- define "mtls-egress-webhook.checkAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "mtls-egress-webhook.checkMetadata" (merge (dict "weight" "-3" "namespace" (include "mtls-egress-webhook.namespace" .top)) .) | nindent 2 }}
automountServiceAccountToken: false
{{- end }}

{{- /* A Role if the dict has a namespace, otherwise a ClusterRole. The caller appends the rules. */}}
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
  namespace: {{ include "mtls-egress-webhook.namespace" .top }}
{{- end }}

{{- define "mtls-egress-webhook.checkPod" -}}
{{- $values := .top.Values -}}
{{- $deployment := $values.webhook.deployment -}}
restartPolicy: Never
serviceAccountName: {{ include "mtls-egress-webhook.checkName" . }}
# The token is mounted explicitly below.
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "mtls-egress-webhook.imagePullSecrets" .top }}
{{- . }}
{{- end }}
{{- with $deployment.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- /* After the release is deleted, no quota admits a Pod with a system- priority class. */}}
{{- if and $deployment.priorityClassName (not .afterwards) }}
priorityClassName: {{ $deployment.priorityClassName }}
{{- end }}
securityContext:
  {{- toYaml $deployment.podSecurityContext | nindent 2 }}
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
    {{- toYaml $deployment.containerSecurityContext | nindent 4 }}
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
{{- /* Only the node affinity. Pod anti-affinity for the webhook would keep this Pod off the nodes where the webhook runs. */}}
{{- with ($deployment.affinity | default dict).nodeAffinity }}
affinity:
  nodeAffinity:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}
