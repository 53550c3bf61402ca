{{/*
A CEL expression that is true if key is a label that the webhook sets on Pods.
*/}}
{{- define "mtls-egress-webhook.ourLabel" -}}
(key == 'mtls.egress/injected' || key.startsWith('to.mtls.egress/'))
{{- end }}
{{/*
A CEL expression that is true if key is the label of host, as HostLabel in internal/egress writes
it. A host of more than 63 characters is cut to 52, without hyphens and dots at the end, and gets a
hyphen and ten digits of a hash.
*/}}
{{- define "mtls-egress-webhook.labelOfHost" -}}
(size(host) <= 63 ? key == 'to.mtls.egress/' + host :
  key.matches('^to[.]mtls[.]egress/.+-[0-9a-f]{10}$') && host.startsWith(key.substring(15, size(key) - 11)) &&
  host.substring(size(key) - 26, 52).matches('^[-.]*$'))
{{- end }}
{{/*
A CEL expression that is true if key, an annotation or a label, looks like one of this project and is
none, as mtls-egress/target, egress.mtls/target, mtls.egress.io/target and mtls.egess/target.
*/}}
{{- define "mtls-egress-webhook.lookalike" -}}
key.contains('mtls') && (key.contains('egr') || key.matches('eg[^/]*/(targets?|secrets?)$')) &&
  !key.startsWith('mtls.egress/') && !key.startsWith('to.mtls.egress/')
{{- end }}
