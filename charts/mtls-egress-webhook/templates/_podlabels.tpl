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
A CEL expression that is true if object is a new Pod that is injected for each host in its annotation
and meets all validations of policy-injected.yaml. It is false for Pods with unusual spellings of
hosts and paths, or with more labels and host aliases than the webhook writes, also if they meet them.
*/}}
{{- define "mtls-egress-webhook.injectedAsUsual" -}}
[object.metadata.?labels.orValue({})].exists(labels, labels[?'mtls.egress/injected'].orValue('') == 'true' && labels.size() <= 100 &&
  !object.spec.?hostNetwork.orValue(false) &&
  [object.spec.?hostAliases.orValue([])].exists(aliases, aliases.size() <= 50 &&
    aliases.all(alias, alias.?hostnames.orValue([]).size() <= 10) &&
    [object.metadata.?annotations[?'mtls.egress/target'].orValue('')].exists(asked, size(asked) <= 1024 &&
      [asked.split(',').map(entry, entry.split(':')[0].trim().lowerAscii())].exists(hosts,
        hosts.all(host, labels[?'to.mtls.egress/' + host].orValue('') == 'true' &&
          aliases.exists(alias, host in alias.?hostnames.orValue([]))) &&
        labels.all(key, !key.startsWith('to.mtls.egress/') || key.substring(15) in hosts) &&
        aliases.all(alias, !alias.?hostnames.orValue([]).exists(name, name in hosts) ||
          isIP(alias.ip) && {{ include "mtls-egress-webhook.sinkholeRanges" . }}.exists(range, cidr(range).containsIP(alias.ip)))))) &&
  (object.spec.containers + object.spec.?initContainers.orValue([])).all(container,
    container.?volumeMounts.orValue([]).all(mount, mount.mountPath.matches('^(/[^/.][^/]*)+$') &&
      !(mount.mountPath in ['/etc', '/etc/hosts', '/etc/nsswitch.conf']))))
{{- end }}
{{/*
A CEL expression that is true if key, an annotation or a label, looks like one of this project and is
none, as mtls-egress/target, egress.mtls/target, mtls.egress.io/target and mtls.egess/target.
*/}}
{{- define "mtls-egress-webhook.lookalike" -}}
key.contains('mtls') && (key.contains('egr') || key.matches('eg[^/]*/(targets?|secrets?)$')) &&
  !key.startsWith('mtls.egress/') && !key.startsWith('to.mtls.egress/')
{{- end }}
