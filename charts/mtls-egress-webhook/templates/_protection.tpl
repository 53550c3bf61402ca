{{- /*
The variables of a policy that protects generated objects. The protection is off where two keys say so: who labels namespaces is often
a tool of many teams, and can't take it off without whoever installs the chart, nor the other way round.
*/}}
{{- define "mtls-egress-webhook.protectionVariables" -}}
- name: exemptByLabel
  expression: namespaceObject.metadata.?labels[?'mtls.egress/protection'].orValue('') == 'off'
- name: exemptByValues
  expression: request.namespace in {{ .Values.policy.exemptNamespaces | default list | toJson }}
- name: protectionOff
  expression: variables.exemptByLabel && variables.exemptByValues
# The end of the message, which says what is missing.
- name: wayAround
  expression: >-
    variables.exemptByLabel ?
    "The namespace has the label mtls.egress/protection=off, which counts only for namespaces in the chart's value policy.exemptNamespaces."
    : (variables.exemptByValues ?
    "The namespace is in the chart's value policy.exemptNamespaces, which counts only together with its label: kubectl label namespace "
    : "An administrator who has to write this very object switches the protection off for the namespace, which takes two keys: the namespace in
    the chart's value policy.exemptNamespaces, and its label: kubectl label namespace ") + request.namespace + " mtls.egress/protection=off"
{{- end }}
{{/*
A CEL expression: this is not the controller, which writes the generated objects with its own account.
*/}}
{{- define "mtls-egress-webhook.notByTheController" -}}
request.userInfo.username != 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "mtls-egress-webhook.serviceAccount" . }}'
{{- end }}
