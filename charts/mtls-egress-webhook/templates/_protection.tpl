{{- /*
The variables of a policy that protects generated objects and their addresses. The protection is off where two keys say so: who labels namespaces is often
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
A CEL expression: the user is not the controller, which writes the generated objects with its own ServiceAccount.
*/}}
{{- define "mtls-egress-webhook.notByTheController" -}}
request.userInfo.username != 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "mtls-egress-webhook.serviceAccount" (dict "top" . "component" "controller") }}'
{{- end }}
{{/*
A CEL expression: an address, or a range as address/length, overlaps 240.0.0.0 to 254.255.255.255, where the sinkhole addresses are. Istio's own
240.240.0.0/16 doesn't count, nor does 0.0.0.0/0, which Istio takes for no range at all. Leading zeros and IPv4 in the form of IPv6
(::ffff:240.0.0.1, ::ffff:f000:1) do, as kube-proxy reads them. By regular expression, as the API server offers CEL's cidr() to new policies only from
Kubernetes 1.31.
*/}}
{{- define "mtls-egress-webhook.inSinkhole" -}}
address.lowerAscii().matches('^([0:]*:ffff:)?0*(
  {{- /* any range of length 0 to 7 that overlaps, by its first octet */ -}}
  [0-9]+[.].*/0|(12[89]|1[3-9][0-9]|2[0-9]{2})[.].*/1|(19[2-9]|2[0-9]{2})[.].*/2|(22[4-9]|2[3-5][0-9])[.].*/3|2(4[0-9]|5[0-5])[.].*/[4-7]|
  {{- /* an address, or a longer range */ -}}
  2(4[0-9]|5[0-4])([.][0-9]+){3}(/([89]|[1-9][0-9]+))?)$|
  {{- /* an address in the form of IPv6, in hexadecimal digits */ -}}
  ^[0:]*:ffff:f[0-9a-e][0-9a-f]{2}:([0-9a-f]{1,4}|:)(/[0-9]+)?$') &&
!address.matches('^(0*240[.]0*240([.][0-9]+){2}(/(1[6-9]|2[0-9]|3[0-2]))?|0[.]0[.]0[.]0/0)$')
{{- end }}
