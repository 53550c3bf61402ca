{{/*
A CEL expression: the key of a label is one that the webhook sets on Pods.
*/}}
{{- define "mtls-egress-webhook.ourLabel" -}}
(key == 'mtls.egress/injected' || key.startsWith('to.mtls.egress/'))
{{- end }}
{{/*
A CEL expression: the key of a label is that of a host, as HostLabel in internal/target writes it. A host of more than 63 characters is cut to 52,
loses hyphens and dots at the end, and gets a hyphen and the ten digits of a hash.
*/}}
{{- define "mtls-egress-webhook.labelOfHost" -}}
(size(host) <= 63 ? key == 'to.mtls.egress/' + host :
  key.matches('^to[.]mtls[.]egress/.+-[0-9a-f]{10}$') && host.startsWith(key.substring(15, size(key) - 11)) &&
  host.substring(size(key) - 26, 52).matches('^[-.]*$'))
{{- end }}
