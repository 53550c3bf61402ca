{{/*
A CEL expression: this is no ReplicaSet of a Deployment. Those repeat its annotations, get their template from it and can be scaled
while the webhook is down. What anything else controls is a workload like any other, the Jobs of a CronJob too: they may carry
annotations of the CronJob's jobTemplate that stand nowhere else.
*/}}
{{- define "mtls-egress-webhook.notControlled" -}}
!object.metadata.?ownerReferences.orValue([]).exists(owner, owner.?controller.orValue(false) &&
  request.kind.kind == 'ReplicaSet' && owner.kind == 'Deployment' && owner.apiVersion.startsWith('apps/'))
{{- end }}
