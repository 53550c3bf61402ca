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
request.userInfo.username != 'system:serviceaccount:{{ include "mtls-egress-webhook.namespace" . }}:{{ include "mtls-egress-webhook.serviceAccount" (dict "top" . "component" "controller") }}'
{{- end }}
{{/*
The ranges of the sinkhole addresses as a CEL list.
*/}}
{{- define "mtls-egress-webhook.sinkholeRanges" -}}
{{ .Values.sinkholeRanges | toJson }}
{{- end }}
{{/*
A CEL expression that is true if address, an IP address or a CIDR, overlaps the ranges of the sinkhole
addresses. Parts in which no host gets an address are allowed. 0.0.0.0/0 and ::/0 are also allowed,
because Istio doesn't treat them as ranges. kube-proxy accepts leading zeros and IPv4-mapped IPv6
addresses (::ffff:240.0.0.1, ::ffff:f000:1), but CEL's cidr() doesn't, so they are rewritten. CEL's
containsCIDR() isn't used: in Kubernetes 1.31 it returns false for most ranges that are contained. Other
notations of IPv6 addresses, which Services can have before Kubernetes 1.36, count as sinkhole addresses.
*/}}
{{- define "mtls-egress-webhook.inSinkhole" -}}
{{- $reserved := `['240.240.0.0/16', '255.0.0.0/8']` -}}
{{- $ranges := include "mtls-egress-webhook.sinkholeRanges" . -}}
[address.lowerAscii()].map(text,
  {{- /* a mapped address in hexadecimal digits */ -}}
  text.matches('^[0:]*:ffff:[0-9a-f]{1,4}:([0-9a-f]{1,4}|:)(/[0-9]{1,3})?$') ?
  [text.split('/')].map(parts,
    [(parts[0].endsWith('::') ? parts[0].substring(0, size(parts[0]) - 1) + '0' : parts[0]).split(':')].map(groups,
      groups.filter(group, group != '').map(group, ('000' + group).substring(size(group) - 1)).join('')
    ).map(digits, digits.substring(size(digits) - 8)).map(digits,
      [0, 2, 4, 6].map(n, string(
        '0123456789abcdef'.indexOf(digits.substring(n, n + 1)) * 16 + '0123456789abcdef'.indexOf(digits.substring(n + 1, n + 2)))).join('.')
    )[0] + (size(parts) == 2 ? '/' + string(int(parts[1]) < 96 ? 0 : int(parts[1]) - 96) : '')
  )[0] :
  {{- /* an address in decimal digits */ -}}
  text.matches('^([0:]*:ffff:)?([0-9]{1,9}[.]){3}[0-9]{1,9}(/[0-9]{1,3})?$') ?
  [text.substring(text.lastIndexOf(':') + 1).split('/')].map(parts,
    parts[0].split('.').map(number, string(int(number))).join('.') +
    (size(parts) == 2 ? '/' + string(!text.contains(':') ? int(parts[1]) : (int(parts[1]) < 96 ? 0 : int(parts[1]) - 96)) : '')
  )[0] : text
).exists(text,
  isIP(text) ? {{ $ranges }}.exists(range, cidr(range).containsIP(text)) && !{{ $reserved }}.exists(range, cidr(range).containsIP(text)) :
  isCIDR(text) ? !(text in ['0.0.0.0/0', '::/0']) &&
  {{ $ranges }}.exists(range, cidr(range).containsIP(cidr(text).ip()) || cidr(text).containsIP(cidr(range).ip())) &&
  !{{ $reserved }}.exists(range, cidr(range).containsIP(cidr(text).ip()) && cidr(range).prefixLength() <= cidr(text).prefixLength()) :
  {{- /* another notation of an IPv6 address, such as 100::00001 */}}
  request.kind.kind == 'Service' && text.contains(':'))
{{- end }}
