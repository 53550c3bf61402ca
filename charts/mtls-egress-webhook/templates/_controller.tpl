{{- /*
The part of the Deployment that only the controller has.
*/}}

{{- define "mtls-egress-webhook.controller.args" -}}
- --leader-elect
- --target-retention={{ .Values.controller.targetRetention }}
- --expiry-warnings={{ join "," .Values.controller.expiryWarnings }}
{{- /* YAML parses an unquoted off as false. */}}
- --verify-targets={{ .Values.controller.verifyTargets | default "off" }}
- --verify-interval={{ .Values.controller.verifyInterval }}
- --read-owners={{ .Values.controller.readOwners }}
- --team-labels={{ join "," .Values.controller.teamLabels }}
- {{ printf "--workloads=%s" (toJson .Values.workloads) | quote }}
{{- end }}

{{- define "mtls-egress-webhook.controller.ports" }}{{ end }}

{{- define "mtls-egress-webhook.controller.volumeMounts" }}{{ end }}

{{- define "mtls-egress-webhook.controller.volumes" }}{{ end }}
