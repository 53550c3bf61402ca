{{- /*
The variables of a policy that protects generated objects and their addresses. The protection is off
only if the label and the chart's values both say so. Often a tool of many teams labels namespaces:
it can't disable the protection without the administrator who installs the chart, and the
administrator can't without the label.
*/}}
{{- define "mtls-egress-webhook.protectionVariables" -}}
- name: exemptByLabel
  expression: namespaceObject.metadata.?labels[?'mtls.egress/protection'].orValue('') == 'off'
- name: exemptByValues
  expression: request.namespace in {{ .Values.policy.exemptNamespaces | default list | toJson }}
- name: protectionOff
  expression: variables.exemptByLabel && variables.exemptByValues
# The end of the message: which of the two is missing.
- name: wayAround
  expression: >-
    variables.exemptByLabel ?
    "The namespace has the label mtls.egress/protection=off, which has an effect only for namespaces in the chart's value policy.exemptNamespaces."
    : (variables.exemptByValues ?
    "The namespace is in the chart's value policy.exemptNamespaces, which has an effect only together with its label: kubectl label namespace "
    : "To write this object anyway, an administrator must exempt the namespace in two places: the chart's value policy.exemptNamespaces, and
    its label: kubectl label namespace ") + request.namespace + " mtls.egress/protection=off"
{{- end }}
{{/*
A CEL expression that is true unless the user is the ServiceAccount of the controller, which writes
the generated objects.
*/}}
{{- define "mtls-egress-webhook.notByTheController" -}}
request.userInfo.username != 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "mtls-egress-webhook.serviceAccount" (dict "top" . "component" "controller") }}'
{{- end }}
{{/*
A CEL expression that is true if address, an IP address or a CIDR, overlaps 240.0.0.0 to
254.255.255.255, the range of the sinkhole addresses. Istio's own 240.240.0.0/16 is allowed.
0.0.0.0/0 is also allowed, because Istio doesn't treat it as a range. Leading zeros and IPv4-mapped
IPv6 addresses (::ffff:240.0.0.1, ::ffff:f000:1) match, because kube-proxy accepts them. This is a
regular expression, because CEL's cidr() is available in new policies only since Kubernetes 1.31.
*/}}
{{- define "mtls-egress-webhook.inSinkhole" -}}
address.lowerAscii().matches('^([0:]*:ffff:)?0*(
  {{- /* any overlapping CIDR with a prefix length of 0 to 7, by its first octet */ -}}
  [0-9]+[.].*/0|(12[89]|1[3-9][0-9]|2[0-9]{2})[.].*/1|(19[2-9]|2[0-9]{2})[.].*/2|(22[4-9]|2[3-5][0-9])[.].*/3|2(4[0-9]|5[0-5])[.].*/[4-7]|
  {{- /* an address, or a CIDR with a longer prefix */ -}}
  2(4[0-9]|5[0-4])([.][0-9]+){3}(/([89]|[1-9][0-9]+))?)$|
  {{- /* an IPv4-mapped IPv6 address, in hexadecimal digits */ -}}
  ^[0:]*:ffff:f[0-9a-e][0-9a-f]{2}:([0-9a-f]{1,4}|:)(/[0-9]+)?$') &&
!address.matches('^(0*240[.]0*240([.][0-9]+){2}(/(1[6-9]|2[0-9]|3[0-2]))?|0[.]0[.]0[.]0/0)$')
{{- end }}
