{{- /*
What the Pods of Helm's hooks share. Each runs a check of the command once, with an account of its own, where and as the Deployment's Pods run.
*/}}

{{- /* Not the selector labels: such a Pod is none that answers admission requests. */}}
{{- define "mtls-egress-webhook.checkLabels" -}}
{{- $named := dict "app.kubernetes.io/name" (printf "%s-%s" (include "mtls-egress-webhook.name" .top) .check) }}
{{- merge $named (include "mtls-egress-webhook.labels" .top | fromYaml) | toYaml }}
{{- end }}

{{- define "mtls-egress-webhook.checkPodLabels" -}}
{{- merge (dict "sidecar.istio.io/inject" "false") (include "mtls-egress-webhook.checkLabels" . | fromYaml) (.top.Values.deployment.podLabels | default dict) | toYaml }}
{{- end }}

{{- define "mtls-egress-webhook.checkPod" -}}
{{- $values := .top.Values -}}
restartPolicy: Never
serviceAccountName: {{ .account }}
# The token is mounted below, where it can be seen.
automountServiceAccountToken: false
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- /* What runs after the release is gone has no quota any more that would admit it with a system- priority. */}}
{{- if and $values.deployment.priorityClassName (not .afterwards) }}
priorityClassName: {{ $values.deployment.priorityClassName }}
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
    {{- toYaml $values.deployment.resources | nindent 4 }}
  {{- with $values.deployment.extraEnv }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "mtls-egress-webhook.containerSecurityContext" .top | nindent 4 }}
  volumeMounts:
  - {{ include "mtls-egress-webhook.tokenMount" .top | indent 4 | trim }}
volumes:
- {{ include "mtls-egress-webhook.tokenVolume" .top | indent 2 | trim }}
{{- with $values.deployment.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.deployment.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- /* Not what keeps the webhook's Pods apart: it would keep this one from the nodes that they are on. */}}
{{- with $values.deployment.affinity.nodeAffinity }}
affinity:
  nodeAffinity:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}
